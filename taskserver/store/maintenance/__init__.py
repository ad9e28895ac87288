"""Finding what is damaged, and repairing it."""
