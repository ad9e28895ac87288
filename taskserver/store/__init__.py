"""The broker as the rest of the package sees it: domain objects in, domain objects out.

The only room that imports redis. ``connection.py`` reaches the server, ``keys.py`` names every key, ``lua/``
holds one script per transition, and each other file is one concern with a few functions.
"""
