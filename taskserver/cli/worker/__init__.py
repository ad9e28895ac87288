"""``taskserver worker``: start workers, list them, stop, restart and scale them."""
