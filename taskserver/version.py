"""Which version this is, and how the package is called where it is installed from."""

VERSION = "0.1.0"
"""The version; the distribution's is read from here."""
DISTRIBUTION = "agent-taskserver"
"""What to pass to ``pip install``: ``taskserver`` is another project's there."""
