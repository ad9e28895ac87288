"""``taskserver worker``: start workers, and look after those that run."""
