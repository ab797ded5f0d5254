"""World models as records of pure functions, and scans over their steps."""
