"""The encoding of an execution's events: their kinds, their bytes, and the messages in them."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, Self

import msgpack

from callboard.messages.core.contract import ContractKey
from callboard.messages.core.errors import InvalidMessage
from callboard.messages.core.names import shown
from callboard.messages.storage.blobs import BlobRef
from callboard.messages.storage.errors import StoreDamaged

__all__ = ["Event", "Kind", "Packed", "pack", "unpack"]


class Kind(StrEnum):
    """The kinds of events of an execution; a closed vocabulary."""

    SUBMITTED = "callboard.execution.submitted"
    ENTERED = "callboard.execution.entered"
    PLANNED = "callboard.execution.planned"
    GROWN = "callboard.execution.grown"
    BEGAN = "callboard.execution.began"
    MOVED = "callboard.execution.moved"
    STEPPED = "callboard.execution.stepped"
    RESUMED = "callboard.execution.resumed"
    LOST = "callboard.execution.lost"
    DECIDED = "callboard.execution.decided"
    FORKED = "callboard.execution.forked"
    STREAMED = "callboard.execution.streamed"


class Event:
    """An event of an execution, with typed attributes; a class for each kind."""

    __slots__ = ()
    kind: ClassVar[Kind]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """The event with these fields. Malformed fields raise `KeyError`, `TypeError` and so on."""
        raise NotImplementedError

    def fields(self) -> Mapping[str, Any]:
        """The event's fields as they are packed, in their order."""
        raise NotImplementedError

    def write(self) -> bytes:
        """The event's data in the journal."""
        return pack(self.fields())


class Packed(NamedTuple):
    """An encoded message."""

    contract: ContractKey
    body: bytes
    buffers: tuple[bytes, ...] = ()
    blob: BlobRef | None = None
    """The blob with body and buffers, when they are not here."""

    @classmethod
    def with_parts(cls, contract: ContractKey, body: bytes, parts: Sequence[Any]) -> "Packed":
        """The result in a row; `parts` are the buffers, then the blob if there is one."""
        return cls(contract, body, tuple(parts[0]), BlobRef(*parts[1]) if len(parts) > 1 else None)


def pack(fields: Mapping[str, Any]) -> bytes:
    """The data of an event. Raises `InvalidMessage` for a text without an encoding."""
    try:
        data: bytes = msgpack.packb(fields)
    except UnicodeEncodeError as error:
        raise InvalidMessage(
            f"the text {shown(error.object)} has a lone surrogate, which has no encoding.",
            advice="Replace it: the journal keeps texts in UTF-8.",
        ) from error
    return data


def unpack(kind: str, data: bytes) -> dict[str, Any]:
    """The fields of an event; raises `StoreDamaged`."""
    try:
        fields = msgpack.unpackb(data, strict_map_key=False)
    except Exception as error:
        raise StoreDamaged(
            f"an event {kind} of {len(data)} bytes does not decode: {error!r}."
        ) from error
    if not isinstance(fields, dict):
        raise StoreDamaged(f"an event {kind} holds a {type(fields).__name__}, not fields.")
    return fields
