"""Reading jobs, queues, partitions and workers as they are now.

Anybody with access to the broker may have written what is read here, so it is parsed by ``untrusted``.
"""
