"""World models as records of pure functions, and the scans over their steps."""
