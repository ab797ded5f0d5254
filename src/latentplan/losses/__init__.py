"""Loss terms, one small function per equation. They return per-step values; the caller averages over the batch."""
