"""Seals: the signature in front of a message, by which a worker knows that it came from somebody who has the key.

::

    0xC1   expiry, ms   HMAC-SHA256   envelope
       1            8            32          …   bytes

0xC1 is the one byte that MessagePack never uses, so a sealed message cannot pass for an unsealed one, nor the other
way round. The signature (RFC 2104) covers the queue and the job's key as well: copied to another job or queue, a
message does not fit. Nothing of a message has to be decoded to check it.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from datetime import UTC, datetime

from taskserver.errors import ConfigError, SignatureInvalid

SEAL_BYTES = 41
KEY_BYTES = 32
"""The shortest key: as long as the signature (RFC 2104, section 3)."""
TTL_MS = 7 * 86_400_000
SEALED = b"\xc1"
"""What a sealed message begins with."""

_PURPOSE = b"taskserver message 1"
_LAST_MS = 253_402_300_799_000
"""The end of the year 9999, which is as far as a date can be shown."""


class Keyring:
    """The keys of one process: the first seals, all of them are tried when a seal is checked.

    Args:
        keys: At least one; of at least 32 bytes each.
        ttl_ms: For how long a seal is valid, in milliseconds from the moment the job may start.

    Raises:
        ConfigError: for a key that is too short.
    """

    __slots__ = ("_keys", "_ttl_ms")

    def __init__(self, keys: Sequence[bytes], ttl_ms: int = TTL_MS) -> None:
        if not keys or min(map(len, keys)) < KEY_BYTES:
            raise ConfigError(f"a signing key needs at least {KEY_BYTES} bytes: make one with openssl rand -hex 32")
        self._keys = tuple(keys)
        self._ttl_ms = ttl_ms

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._keys)}>"

    def seal(self, queue: str, key: str, envelope: bytes, start_ms: int) -> bytes:
        """The seal for a job's envelope, to be put in front of it.

        Args:
            queue: The job's queue.
            key: Its id without the queue.
            envelope: The packed envelope, unsealed.
            start_ms: When the job may start, in milliseconds since 1970.
        """
        expiry = struct.pack(">Q", min(start_ms + self._ttl_ms, _LAST_MS))
        return SEALED + expiry + _sign(self._keys[0], queue, key, expiry, envelope)

    def open(self, queue: str, key: str, message: bytes, now_ms: int | None) -> bytes:
        """The envelope behind a seal that fits.

        Args:
            queue: The job's queue.
            key: Its id without the queue.
            message: As the broker has it; nobody vouches for it.
            now_ms: Milliseconds since 1970; None to let the expiry pass.

        Raises:
            SignatureInvalid: if there is no seal, it does not fit, or it has expired.
        """
        if not is_sealed(message):
            raise SignatureInvalid(
                "the message is not signed, and only signed ones are taken here: "
                "set TASKSERVER_SIGNING_KEYS where it was submitted, and submit it again"
            )
        expiry, signature, envelope = message[1:9], message[9:SEAL_BYTES], message[SEAL_BYTES:]
        # No early way out: the time that this takes must not tell which key was nearly right.
        fits = [hmac.compare_digest(signature, _sign(each, queue, key, expiry, envelope)) for each in self._keys]
        if not any(fits):
            raise SignatureInvalid(
                "the message's signature does not fit: "
                "it was signed with another key or for another job, or was changed"
            )
        (until_ms,) = struct.unpack(">Q", expiry)
        if now_ms is not None and now_ms > until_ms:
            moment = datetime.fromtimestamp(until_ms // 1000, UTC)
            raise SignatureInvalid(
                f"the message's signature expired at {moment:%Y-%m-%d %H:%M:%S} UTC: "
                "run the job again from where the key is, which signs it anew"
            )
        return envelope


def is_sealed(message: bytes) -> bool:
    """Whether there is a seal in front of the envelope; not whether it fits."""
    return len(message) > SEAL_BYTES and message.startswith(SEALED)


def without_seal(message: bytes) -> bytes:
    """The envelope of a message that may be sealed, unchecked."""
    return message[SEAL_BYTES:] if is_sealed(message) else message


def _sign(key: bytes, queue: str, job: str, expiry: bytes, envelope: bytes) -> bytes:
    """HMAC over the parts, each but the last behind its length, so that no two sets of parts read the same."""
    parts = (_PURPOSE, queue.encode(), job.encode("utf-8", "surrogatepass"), expiry)
    head = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return hmac.digest(key, head + envelope, "sha256")
