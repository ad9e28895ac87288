"""What people and programs may ask: jobs, queues, partitions and workers as they are now."""
