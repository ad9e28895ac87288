"""The pace of a worker's background work: with many queues, each of them is looked at less often.

So a worker of a thousand queues asks its broker hardly more than one of ten. Nothing waits for these looks: what is due
is known or notified, and a look only finds what a lost notification, or somebody's hand, has left behind.
"""

from __future__ import annotations

import random

FEW = 10
"""As many partitions are looked at as often as the services say."""


class Pace:
    """What the background services of all partitions of a worker share.

    Attributes:
        partitions: How many partitions the worker works on.
    """

    def __init__(self) -> None:
        self.partitions = 0

    def pause(self, seconds: float) -> float:
        """How long a service rests that would rest so many seconds if there were few partitions."""
        return seconds * max(1.0, self.partitions / FEW)

    def spread(self, seconds: float) -> float:
        """How long a service waits before it begins, so that those of many partitions do not all begin together."""
        return random.uniform(0.0, self.pause(seconds) - seconds)  # noqa: S311 - jitter
