"""Loss terms, one small function per equation. They return per-step values; whoever owns the batch reduces."""
