"""Connecting to a broker of one server or several.

``connection.Broker`` is what everything above uses. The other files are its parts (``urls``, ``nodes``,
``connections``, ``script_connection``, ``sockets``, ``retry``, ``translation``, ``preparing``, ``schema``) and what is
built on it (``subscription``, ``control``, ``health``, ``opening``); ``access`` lists the rights that each role needs.
"""
