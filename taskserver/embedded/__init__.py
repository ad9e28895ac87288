"""The embedded broker: with no broker configured, the first process that needs one starts a Valkey server.

It listens on a unix socket in the project's ``.taskserver/`` folder, keeps an append-only file there, and is
gone soon after its last user. Who may do what is decided by locks on files (``flock``), because the kernel
releases such a lock however its holder dies:

===============  =====================================================================================
``users.lock``   shared by every user for as long as it uses the broker. The keeper waits for it
                 *exclusively*: getting it proves that no user is left. It then stops the server and
                 lets go by exiting, so a newcomer that comes too late waits, and starts a fresh one.
``keeper.lock``  held by the keeper, and contains its process id. A user that gets it knows that there
                 is no keeper, starts one, and hands the lock over as the keeper's standard input, so
                 that there are never two.
``data.lock``    held by the server itself, which inherits it from the keeper: never two servers
                 on one append-only file, not even when a keeper died and left its server behind.
``stay``         no lock but a mark: while it exists, the keeper does not stop for lack of users.
                 ``start`` makes it; ``stop`` removes it, and so does a user that starts a new keeper.
===============  =====================================================================================

The keeper (:mod:`taskserver.embedded.keeper`) is the server's parent. It starts the server again when it
crashes, and leaves it ended when it ended by itself: told to, or unable to go on. Beside it waits its
*understudy*, a shell that reads from a pipe whose other end only the keeper has. When the keeper is killed,
the read ends and the shell turns into a new keeper, which replaces the server that it finds. That needs no
polling and works the same on Linux and macOS. Only if both are killed does a server run on by itself; the
next user, or ``stop``, brings it back under control.
"""

from taskserver.embedded.binary import find_binary
from taskserver.embedded.broker import EmbeddedBroker
from taskserver.embedded.control import EmbeddedStatus, start, status, stop
from taskserver.embedded.home import Home

__all__ = ["EmbeddedBroker", "EmbeddedStatus", "Home", "find_binary", "start", "status", "stop"]
