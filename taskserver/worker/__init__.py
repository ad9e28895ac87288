"""The worker: claims jobs for free slots, runs them, settles them, and keeps the queue healthy meanwhile.

``worker.py`` builds and lists its services; each other file is one of them, or one thing they share.
"""
