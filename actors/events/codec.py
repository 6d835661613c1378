"""Typed events: contracts to events of the log and back, and what an unknown one means.

The kind of an event is its contract's name, its schema the contract's version. An event of
an earlier version is brought forward by the contract's own upcasters when it is read; what
is in the log never changes.

An event is unknown when this codec was not given its kind, or no chain of upcasters leads
from its version to the one known here (a newer version than ours is unknown too). What then
happens is a policy, and it is never silent:

| `unknown` | what happens |
|---|---|
| `Unknown.STOP` | `UnknownEvent` is raised, naming kind, version and position |
| `Unknown.SKIP` | it is left out, counted, and logged once for each kind and version |
| `Unknown.KEEP` | it is handed over undecoded, with `body` None |

An event that is known but does not decode is none of these: it raises `EventUnreadable`.
"""

import enum
import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractInfo, ContractRegistry, contract_key
from callboard.messages.core.errors import (
    CallboardError,
    InvalidMessage,
    SpecError,
    VersionMismatch,
)
from callboard.messages.core.limits import DEFAULT_LIMITS, Limits
from callboard.messages.storage.errors import UnknownEvent
from callboard.messages.storage.event_ids import new_event_id
from callboard.messages.storage.events import EVENT_ID_BYTES, NewEvent, RecordedEvent

from .errors import EventUnreadable

__all__ = ["Event", "EventCodec", "Unknown", "event_id", "metadata_of"]

LOGGER: Final = logging.getLogger("callboard.events")
Build = Callable[[dict[str, Any]], Contract]
Kind = tuple[str, int]
"""The name of an event's kind and its version."""

_ARRAY_HEADERS: Final = frozenset((*range(0x90, 0xA0), 0xDC, 0xDD))
"""First bytes of a msgpack list: a body with array buffers beside it. A body alone is a map."""


class Unknown(enum.Enum):
    """What happens with an event that is not known."""

    STOP = "stop"
    SKIP = "skip"
    KEEP = "keep"


class Event(NamedTuple):
    """An event as it is handed over: what it says, and how the log keeps it."""

    body: Contract | None
    """What it says; None for an unknown one that is kept."""
    recorded: RecordedEvent

    @property
    def position(self) -> int:
        """Its position in the log."""
        return self.recorded.position


def event_id(*parts: str | int) -> bytes:
    """An event's id that is the same whenever it is made of the same parts."""
    digest = hashlib.blake2b(digest_size=EVENT_ID_BYTES)
    for part in parts:
        text = f"{part}".encode()
        digest.update(len(text).to_bytes(8, "big"))
        digest.update(text)
    return digest.digest()


def metadata_of(recorded: RecordedEvent) -> dict[str, Any]:
    """The metadata that was given when the event was made; empty when there was none.

    Raises `EventUnreadable` when somebody else wrote something else there.
    """
    if not recorded.metadata:
        return {}
    try:
        found = msgpack.unpackb(recorded.metadata, strict_map_key=False)
    except Exception as error:
        raise _unreadable(recorded, f"its metadata does not decode: {error!r}") from error
    if type(found) is not dict:
        raise _unreadable(recorded, f"its metadata holds a {type(found).__name__}")
    return found


class EventCodec:
    """Turns the contracts it was given into events and back. Threads may share one.

    Raises `SpecError` for something that is no contract, or for two contracts of one name.
    """

    def __init__(
        self,
        contracts: Iterable[type[Contract]],
        *,
        unknown: Unknown = Unknown.STOP,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.unknown: Final = unknown
        self._limits = limits
        self._registry = ContractRegistry(limits)
        self._known: dict[str, ContractInfo] = {}
        self._builds: dict[Kind, Build] = {}
        self._codecs = threading.local()
        self._lock = threading.Lock()
        self._skipped: dict[Kind, int] = {}
        for contract in contracts:
            self._learn(contract)

    def _learn(self, contract: type[Contract]) -> None:
        if not (isinstance(contract, type) and issubclass(contract, Contract)):
            raise SpecError(f"{contract!r} is no contract.", advice="Give Contract classes.")
        info = self._registry.learn(contract)
        known = self._known.setdefault(info.key.name, info)
        if known.cls is not contract:
            raise SpecError(
                f"two contracts are named {info.key.name!r}: {known.cls.__qualname__} and "
                f"{contract.__qualname__}.",
                advice="Give the codec the newest version alone; upcasters bring others there.",
            )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the known kinds, in order."""
        return tuple(sorted(self._known))

    @property
    def skipped(self) -> dict[Kind, int]:
        """How often events of each unknown kind and version were left out."""
        with self._lock:
            return dict(self._skipped)

    # --- to the log -----------------------------------------------------------------------

    def encode(
        self,
        body: Contract,
        *,
        id: bytes | None = None,  # noqa: A002 - the field's name in `NewEvent`
        metadata: Mapping[str, Any] | None = None,
    ) -> NewEvent:
        """An event that says `body`; without an id it gets a new one.

        Raises `SpecError` for a contract that this codec does not know (nobody could read
        it), `InvalidMessage` and `PayloadTooLarge` for its fields.
        """
        key = contract_key(type(body))
        known = self._known.get(key.name)
        if known is None or known.key != key:
            raise SpecError(
                f"{key} is not among the contracts of this codec.",
                advice="Give the codec every contract that is appended or read with it.",
            )
        data, beside = self._codec().encode(body)
        if beside:
            data = msgpack.packb([data, *(bytes(buffer) for buffer in beside)])
        packed = b"" if not metadata else _pack_metadata(key.name, metadata)
        return NewEvent(new_event_id() if id is None else id, key.name, data, key.version, packed)

    # --- from the log ---------------------------------------------------------------------

    def knows(self, recorded: RecordedEvent) -> bool:
        """Whether an event's kind and version are known."""
        return self._build_of(recorded.kind, recorded.schema) is not None

    def decode(self, recorded: RecordedEvent) -> Event | None:
        """The event, or None when it is unknown and skipped.

        Raises `UnknownEvent` under the policy `Unknown.STOP`, and `EventUnreadable`.
        """
        build = self._builds.get((recorded.kind, recorded.schema))
        if build is None:
            build = self._build_of(recorded.kind, recorded.schema)
            if build is None:
                return self._unknown(recorded)
        return Event(self._body(recorded, build), recorded)

    def decode_all(self, page: Sequence[RecordedEvent]) -> list[Event]:
        """The events of a page, without those that are skipped. Raises what `decode` raises."""
        return [event for event in map(self.decode, page) if event is not None]

    def body_of(self, recorded: RecordedEvent) -> Contract | None:
        """What an event says; None when it is unknown, whatever the policy. No counting."""
        build = self._build_of(recorded.kind, recorded.schema)
        return None if build is None else self._body(recorded, build)

    def _body(self, recorded: RecordedEvent, build: Build) -> Contract:
        data = recorded.data
        try:
            if data[:1] and data[0] in _ARRAY_HEADERS:
                data, *beside = msgpack.unpackb(data)
                return self._codec().decode(data, build, beside)
            return self._codec().decode(data, build)
        except CallboardError as error:
            raise _unreadable(recorded, error.message) from error
        except Exception as error:
            raise _unreadable(recorded, repr(error)) from error

    def _codec(self) -> Codec:
        # A codec of messages serves one thread; a projector reads in a thread of its own.
        codec: Codec | None = getattr(self._codecs, "codec", None)
        if codec is None:
            codec = self._codecs.codec = Codec(self._registry, self._limits)
        return codec

    def _build_of(self, kind: str, schema: int) -> Build | None:
        build = self._builds.get((kind, schema))
        if build is None:
            info = self._known.get(kind)
            if info is None:
                return None
            try:
                build = self._registry.resolve(kind, schema, info.key.fingerprint)
            except VersionMismatch:
                return None
            self._builds[kind, schema] = build
        return build

    def _unknown(self, recorded: RecordedEvent) -> Event | None:
        match self.unknown:
            case Unknown.STOP:
                raise UnknownEvent(
                    f"the event at position {recorded.position} is a {recorded.kind!r} "
                    f"v{recorded.schema}, which is not known here.",
                    advice="Give the codec its contract (or the missing upcaster), or choose "
                    "what happens with unknown events: Unknown.SKIP or Unknown.KEEP.",
                    kind=recorded.kind,
                    version=recorded.schema,
                    position=recorded.position,
                )
            case Unknown.KEEP:
                return Event(None, recorded)
            case Unknown.SKIP:
                kind = (recorded.kind, recorded.schema)
                with self._lock:
                    count = self._skipped[kind] = self._skipped.get(kind, 0) + 1
                if count == 1:
                    LOGGER.warning(
                        "Events %r v%d are unknown here and skipped, the first at position %d.",
                        recorded.kind,
                        recorded.schema,
                        recorded.position,
                    )
                return None


def _pack_metadata(kind: str, metadata: Mapping[str, Any]) -> bytes:
    try:
        packed: bytes = msgpack.packb(dict(metadata))
    except Exception as error:
        raise InvalidMessage(
            f"the metadata of a {kind} cannot be encoded: {error!r}.",
            advice="Metadata are texts, numbers, bytes, and lists and mappings of them.",
        ) from error
    return packed


def _unreadable(recorded: RecordedEvent, why: str) -> EventUnreadable:
    return EventUnreadable(
        f"the event at position {recorded.position} ({recorded.kind!r} v{recorded.schema}, "
        f"stream {recorded.stream!r}, version {recorded.version}) does not decode: {why}",
        advice="Repair the upcaster or the contract: its schema may have changed without a "
        "new version.",
        kind=recorded.kind,
        version=recorded.schema,
        position=recorded.position,
    )
