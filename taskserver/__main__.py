"""``python -m taskserver``: the same as the command ``taskserver``."""

from taskserver.cli.main import main

main()
