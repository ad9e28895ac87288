"""How long tests wait."""

PATIENCE = 120.0
"""Seconds after which what was waited for will not come. A test that passes continues at the signal, long before."""
