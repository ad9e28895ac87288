"""Settings: from the environment (``TASKSERVER_*``), checked once, with defaults that work."""
