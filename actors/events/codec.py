"""Typed events: contracts to events of the log and back, and the policy for unknown events.

The kind of an event is its contract's name, and its schema is the contract's version. The
contract's upcasters convert an event of an earlier version when it is read; the log itself
never changes.

An event is unknown when this codec does not have its kind, or no upcasters lead from its version
to the one that is known here (a newer version is unknown, too). A policy decides what happens,
and none is silent:

| `unknown` | effect |
|---|---|
| `Unknown.STOP` | `decode` raises `UnknownEvent`, with kind, version and position |
| `Unknown.SKIP` | the event is skipped, counted, and logged once for each kind and version |
| `Unknown.KEEP` | the event is delivered undecoded, with `body` None |

A known event that does not decode raises `EventUnreadable` under each policy.
"""

import enum
import hashlib
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import (
    Build,
    Contract,
    ContractInfo,
    ContractRegistry,
    contract_key,
)
from callboard.messages.core.errors import (
    CallboardError,
    InvalidMessage,
    SpecError,
    VersionMismatch,
)
from callboard.messages.core.limits import DEFAULT_LIMITS, Limits
from callboard.messages.core.module_names import former_name
from callboard.messages.storage.errors import UnknownEvent
from callboard.messages.storage.event_ids import new_event_id
from callboard.messages.storage.events import EVENT_ID_BYTES, NewEvent, RecordedEvent

from .errors import EventUnreadable

__all__ = ["Event", "EventCodec", "Unknown", "event_id", "metadata_of"]

LOGGER: Final = logging.getLogger("callboard.events")
Kind = tuple[str, int]
"""The name of an event's kind and its version."""

_ARRAY_HEADERS: Final = frozenset((*range(0x90, 0xA0), 0xDC, 0xDD))
"""First bytes of a msgpack list: a body and its array buffers. A body alone is a map."""


class Unknown(enum.Enum):
    """The policy for unknown events: raise an error, skip them, or deliver them undecoded."""

    STOP = "stop"
    SKIP = "skip"
    KEEP = "keep"


class Event(NamedTuple):
    """A decoded event, together with its record in the log."""

    body: Contract | None
    """The contract; None for an unknown event under `Unknown.KEEP`."""
    recorded: RecordedEvent
    """The event as the log keeps it."""

    @property
    def position(self) -> int:
        """Its position in the log."""
        return self.recorded.position


def event_id(*parts: str | int) -> bytes:
    """The id of an event, made of these parts: the same parts give the same id."""
    digest = hashlib.blake2b(digest_size=EVENT_ID_BYTES)
    for part in parts:
        # A store refuses a text without an encoding, with an error that says so.
        text = f"{part}".encode("utf-8", "surrogatepass")
        digest.update(len(text).to_bytes(8, "big"))
        digest.update(text)
    return digest.digest()


def metadata_of(recorded: RecordedEvent) -> dict[str, Any]:
    """The metadata of an event; empty when it has none.

    Raises `EventUnreadable` when the bytes are no mapping.
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
    """Encodes contracts as events and decodes events. Threads may share a codec.

    `contracts` are the known kinds of events. Raises `SpecError` for an item that is no
    contract, and for two contracts of one name.
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
        former = former_name(contract, info.key.name)
        if former is not None:
            self._known.setdefault(former, info)
        known = self._known.setdefault(info.key.name, info)
        if known.cls is not contract:
            raise SpecError(
                f"two contracts are named {info.key.name!r}: {known.cls.__qualname__} and "
                f"{contract.__qualname__}.",
                advice="Give the codec only the newest version; its upcasters convert the others.",
            )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the known kinds, sorted."""
        return tuple(sorted(self._known))

    @property
    def skipped(self) -> dict[Kind, int]:
        """The number of skipped events of each unknown kind and version."""
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
        """The event of a contract; without `id` it gets a new one.

        Raises `SpecError` for a contract that this codec does not know, and `InvalidMessage`
        and `PayloadTooLarge` for its fields or the metadata.
        """
        key = contract_key(type(body))
        known = self._known.get(key.name)
        if known is None or known.key != key:
            raise SpecError(
                f"{key} is not among the contracts of this codec.",
                advice="Give the codec every contract that you append or read with it.",
            )
        data, buffers = self._codec().encode(body)
        if buffers:
            data = msgpack.packb([data, *(bytes(buffer) for buffer in buffers)])
        packed = b"" if not metadata else _pack_metadata(key.name, metadata)
        return NewEvent(new_event_id() if id is None else id, key.name, data, key.version, packed)

    # --- from the log ---------------------------------------------------------------------

    def knows(self, recorded: RecordedEvent) -> bool:
        """Whether an event's kind and version are known."""
        return self._build_of(recorded.kind, recorded.schema) is not None

    def decode(self, recorded: RecordedEvent) -> Event | None:
        """The decoded event; None for an unknown event under `Unknown.SKIP`.

        Raises `UnknownEvent` under `Unknown.STOP`, and `EventUnreadable`.
        """
        build = self._builds.get((recorded.kind, recorded.schema))
        if build is None:
            build = self._build_of(recorded.kind, recorded.schema)
            if build is None:
                return self._unknown(recorded)
        return Event(self._body(recorded, build), recorded)

    def decode_all(self, page: Sequence[RecordedEvent]) -> list[Event]:
        """The decoded events of a page, without skipped ones. Raises what `decode` raises."""
        return [event for event in map(self.decode, page) if event is not None]

    def body_of(self, recorded: RecordedEvent) -> Contract | None:
        """The contract of an event; None for an unknown one, whatever the policy, not counted."""
        build = self._build_of(recorded.kind, recorded.schema)
        return None if build is None else self._body(recorded, build)

    def _body(self, recorded: RecordedEvent, build: Build) -> Contract:
        data = recorded.data
        try:
            if data[:1] and data[0] in _ARRAY_HEADERS:
                data, *buffers = msgpack.unpackb(data)
                return self._codec().decode(data, build, buffers)
            return self._codec().decode(data, build)
        except CallboardError as error:
            raise _unreadable(recorded, error.message) from error
        except Exception as error:
            raise _unreadable(recorded, repr(error)) from error

    def _codec(self) -> Codec:
        # A message codec serves one thread, and a projector decodes in its own thread.
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
                    f"v{recorded.schema}, which this codec does not know.",
                    advice="Give the codec its contract, or the contract the missing upcaster; "
                    "or set `unknown` to Unknown.SKIP or Unknown.KEEP.",
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
                        "Skipping unknown events %r v%d, the first one at position %d.",
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
            advice="Use texts, numbers, bytes, and lists and mappings of them.",
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
