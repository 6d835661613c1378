"""How a connection shows that its peer knows the token of the process that listens. Pure.

Inside a node the peer shows the token itself: the kernel carries it from one process of this user
to another. Between nodes others may read the bytes, so neither side shows the token: each shows
that it knows it, for two numbers that were never used before, one of each side.

    listener > peer    MAGIC, the listener's number
    peer > listener    MAGIC, the peer's number, HMAC(token, "peer" and both numbers)
    listener > peer    HMAC(token, "listener" and both numbers)

Then the peer sends frames, and the listener sends nothing more. The peer proves itself first: a
stranger learns a random number. Both proofs hold for one connection only, because of the two
numbers, and for one side of it, because of the label: neither a recorded answer nor one's own words
sent back are accepted.

The proofs say who is there as the connection begins. They protect no frame after that: TLS does.
"""

import hmac
from typing import Final, Protocol

__all__ = [
    "ANSWER_BYTES",
    "GREETING_BYTES",
    "MAGIC",
    "NUMBER_BYTES",
    "PROOF_BYTES",
    "Admission",
    "Challenge",
    "Response",
    "ShownToken",
]

MAGIC: Final = b"CBF\x01"
NUMBER_BYTES: Final = 32
PROOF_BYTES: Final = 32
GREETING_BYTES: Final = len(MAGIC) + NUMBER_BYTES
ANSWER_BYTES: Final = len(MAGIC) + NUMBER_BYTES + PROOF_BYTES
PEER: Final = b"callboard frames, from the peer"
LISTENER: Final = b"callboard frames, from the listener"


class Admission(Protocol):
    """The listener's side of one connection that is not proven yet."""

    @property
    def greeting(self) -> bytes:
        """What the listener sends first; empty for nothing."""

    @property
    def missing(self) -> int:
        """How many bytes of the peer are missing."""

    def take(self, part: bytes) -> None:
        """Take some of the missing bytes, and no more than these."""

    @property
    def is_right(self) -> bool:
        """Whether the peer knows the token, once nothing is missing."""

    @property
    def proof(self) -> bytes:
        """What the listener sends to a peer that knows the token; empty for nothing."""


class ShownToken:
    """An admission inside a node: the peer shows the token, and trusts the socket's name."""

    greeting: Final = b""
    proof: Final = b""

    def __init__(self, token: bytes) -> None:
        self._token: Final = token
        self._shown: Final = bytearray()

    @property
    def missing(self) -> int:
        """See `Admission`."""
        return len(self._token) - len(self._shown)

    def take(self, part: bytes) -> None:
        """See `Admission`."""
        self._shown.extend(part)

    @property
    def is_right(self) -> bool:
        """See `Admission`."""
        return hmac.compare_digest(self._shown, self._token)


class Challenge:
    """An admission between nodes; `number` is random and used once."""

    def __init__(self, token: bytes, number: bytes) -> None:
        self._token: Final = token
        self._number: Final = number
        self._answer: Final = bytearray()
        self.greeting: Final = MAGIC + number

    @property
    def missing(self) -> int:
        """See `Admission`."""
        return ANSWER_BYTES - len(self._answer)

    def take(self, part: bytes) -> None:
        """See `Admission`."""
        self._answer.extend(part)

    @property
    def is_right(self) -> bool:
        """See `Admission`."""
        claimed = bytes(self._answer[-PROOF_BYTES:])
        is_known = hmac.compare_digest(claimed, self._proof_of(PEER))
        return is_known and self._answer.startswith(MAGIC) and not self.missing

    @property
    def proof(self) -> bytes:
        """See `Admission`."""
        return self._proof_of(LISTENER)

    def _proof_of(self, side: bytes) -> bytes:
        theirs = bytes(self._answer[len(MAGIC) : len(MAGIC) + NUMBER_BYTES])
        return _proof(self._token, side, self._number, theirs)


class Response:
    """The peer's side; `number` is random and used once."""

    def __init__(self, token: bytes, number: bytes) -> None:
        self._token: Final = token
        self._number: Final = number
        self._theirs = b""

    def answer(self, greeting: bytes) -> bytes:
        """The answer to the listener's greeting; empty when it is none."""
        if len(greeting) != GREETING_BYTES or not greeting.startswith(MAGIC):
            return b""
        self._theirs = greeting[len(MAGIC) :]
        mine = _proof(self._token, PEER, self._theirs, self._number)
        return MAGIC + self._number + mine

    def is_right(self, proof: bytes) -> bool:
        """Whether the listener knows the token, after `answer`."""
        expected = _proof(self._token, LISTENER, self._theirs, self._number)
        return bool(self._theirs) and hmac.compare_digest(proof, expected)


def _proof(token: bytes, side: bytes, listener: bytes, peer: bytes) -> bytes:
    # All parts but the label have a fixed length, and neither label begins with the other.
    return hmac.digest(token, side + listener + peer, "sha256")
