"""One small file per system, run in that system's own environment. What they share needs nothing but Python."""
