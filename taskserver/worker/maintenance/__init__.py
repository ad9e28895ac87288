"""Services that keep a queue healthy while its jobs run elsewhere."""
