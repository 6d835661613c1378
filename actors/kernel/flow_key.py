"""Flow keys: the messages that wait together when there is no room for one of them. Pure.

Either all messages for a cell have the same flow key, or the messages of each key have
their own, so that a full mailbox delays no other messages.
"""

from typing import Final, NamedTuple

import msgpack

from callboard.messages.core.contract import Contract

from .directory.routing import key_hash

__all__ = ["WHOLE_CELL", "FlowKey", "read_flow_key"]


class FlowKey(NamedTuple):
    """Some of the messages for a cell: those whose `field` has a key of this hash."""

    field: str
    """Empty for all messages of the cell."""
    key: int

    @classmethod
    def of(cls, message: Contract, field: str) -> "FlowKey":
        """The flow key of a message; raises `InvalidMessage` when the field holds no key."""
        return cls(field, key_hash(message, field))

    def to_bytes(self) -> bytes:
        """Its bytes on the wire; a whole cell takes none."""
        return bytes(msgpack.packb(tuple(self))) if self.field else b""


WHOLE_CELL: Final = FlowKey("", 0)
"""All messages for a cell."""


def read_flow_key(body: bytes) -> FlowKey | None:
    """A flow key from the wire; None when the bytes are no flow key."""
    if not body:
        return WHOLE_CELL
    try:
        field, key = msgpack.unpackb(body)
    except Exception:  # noqa: BLE001 - bytes from outside may be anything
        return None
    return FlowKey(field, key) if type(field) is str and field and type(key) is int else None
