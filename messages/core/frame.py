"""Frames: a batch of envelopes from one host to another, as bytes.

    magic "CB" | format 2 | CRC-32 of the table, 4 bytes | its length, 4 bytes
    | the table: msgpack [header, contracts, envelopes] | parts of large values, one after another

The header numbers the frame within its link and carries the acknowledgement and the credit
of the other direction. A frame lists its contracts once, in a table, and envelopes point
into it. So a frame can be decoded alone, whatever was lost before it.

The body of a message stays packed inside its envelope: a message that does not decode
damages no other message of its frame, and a host can refuse it by its contract's name.

The parts of large values are neither packed nor under the checksum, which took a quarter of the
time of a large message. Their lengths are in the table and must add up to the bytes that follow.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack

from .contract import Contract, ContractKey, describe_contract
from .errors import FrameError, InvalidMessage
from .limits import DEFAULT_LIMITS, Limits
from .trace_context import TRACE_BYTES

__all__ = ["STEP_WINDOW", "Envelope", "Frame", "FrameHeader", "FrameWriter", "Kind", "decode_frame"]

MAGIC: Final = b"CB\x02"
PREFIX: Final = struct.Struct(">3sII")
NO_CONTRACT: Final = -1
TRACE_SIZES: Final = (0, TRACE_BYTES)
STEP_WINDOW: Final = 16
"""Partial results of 64 KiB each that may be under way for one attempt of a step, at most. It is
the same for all attempts, and so it is not written."""
PACKER_BYTES: Final = 4_096
"""The initial buffer of a packer, which grows when needed. The default of 256 KiB is mapped
and unmapped by the system for every frame: 15 µs, most of the cost of a single message."""


class Kind:
    """The kind of an envelope. Plain ints: the hot path compares them."""

    TELL: Final = 0
    ASK: Final = 1
    REPLY: Final = 2
    ERROR: Final = 3
    CANCEL: Final = 4
    PAUSE: Final = 5
    RESUME: Final = 6
    BOUNCE: Final = 7
    """An ask that returns to its sender: the actor ended before it ran, and will be restarted."""
    SEARCH: Final = 8
    """A search for asks in a circle comes to the host that made the ask of `correlation`."""
    PART: Final = 9
    """A part of a large value, whose number is the correlation; an empty one ends the value.
    Its target is the size of the value, its budget that of the part, whose bytes follow the
    table."""
    PARTIAL: Final = 10
    """A partial result of an ask that is still handled; the reply follows it."""
    GRANT: Final = 11
    """The asker has taken so many partial results of an ask; their number is the target. Its budget
    is how long the asker waits from now on; 0 leaves the deadline as it is."""
    KINDS: Final = 12


class FrameHeader(NamedTuple):
    """Sender and receiver of a frame, and the state of their link."""

    source: int
    """Slot of the sending host."""
    source_epoch: int
    target: int
    target_epoch: int
    sequence: int
    """Number of this frame in its direction, from 1; 0 for a frame without envelopes."""
    received: int
    """The sender of this frame has received all frames up to this number."""
    granted: int
    """Envelopes that the receiver may send in all, counted from the beginning of the link."""


class Envelope(NamedTuple):
    """One message under way.

    `target` is a cell for TELL, ASK, BOUNCE, PAUSE and RESUME; for the other kinds
    `correlation` identifies the ask. `budget_ms` is the rest of the deadline in
    milliseconds, 0 for none. A body that travels apart is empty here, and `reference` is its
    index among the references that travel with the frame. `step` names the step of an
    execution, for an ASK that is an attempt of it. `value` is the number of the value whose
    parts have come before; `body` has the layout of it then. `window` is the number of partial
    results that may be under way to the asker of an ASK; 0 if the asker takes none, and for an
    attempt of a step, which has the `STEP_WINDOW`. `trace` is the packed context of an ASK that
    belongs to a trace (`trace_context.py`).
    """

    kind: int
    target: int
    correlation: int
    contract: int
    body: bytes
    budget_ms: int = 0
    buffers: tuple[bytes, ...] = ()
    reference: int = -1
    step: str = ""
    value: int = 0
    window: int = 0
    trace: bytes = b""


FIELDS_ALWAYS: Final = 6
"""An envelope has these at least; a reader of one that ends there has defaults for the rest."""
FIELDS_OF_STEP: Final = 9
"""An attempt of a step ends here, unless it is large or belongs to a trace."""
DEFAULTS: Final = tuple(Envelope._field_defaults.values())[1:]
NOTHING_APART: Final = DEFAULTS[:2]
DEFAULTS_OF_STEP: Final = DEFAULTS[3:]
_new_tuple: Final = tuple.__new__  # A quarter cheaper than Envelope(*row).


class Frame(NamedTuple):
    """A decoded frame; the bodies of its envelopes are still packed."""

    header: FrameHeader
    contracts: tuple[ContractKey, ...]
    envelopes: list[Envelope]
    parts: memoryview = memoryview(b"")
    """The parts of large values, one after another."""


class FrameWriter:
    """Collects the envelopes of one frame, and knows its size so far."""

    __slots__ = (
        "_chunks",
        "_classes",
        "_contracts",
        "_pack",
        "_parts",
        "count",
        "references",
        "size_bytes",
    )

    def __init__(self) -> None:
        self._pack = msgpack.Packer(buf_size=PACKER_BYTES).pack
        self._contracts: dict[ContractKey, int] = {}
        self._classes: dict[type[Contract], int] = {}
        self._chunks: list[bytes] = []
        self._parts: list[bytes | memoryview] = []
        self.references: list[Any] = []
        self.count = 0
        self.size_bytes = 0

    def contract(self, key: ContractKey) -> int:
        """The index of a contract in this frame's table."""
        table = self._contracts
        number = table.get(key)
        if number is None:
            number = table[key] = len(table)
            self.size_bytes += len(key.name) + 16
        return number

    def number_of(self, cls: type[Contract]) -> int:
        """The index of a contract class in this frame's table. Raises `InvalidMessage`."""
        number = self._classes.get(cls)
        if number is None:
            if not issubclass(cls, Contract):
                raise InvalidMessage(
                    f"a {cls.__qualname__} stands where a message belongs, and is no contract.",
                    advice="Derive its class from Contract or Request.",
                    may_have_run=False,
                )
            number = self._classes[cls] = self.contract(describe_contract(cls).key)
        return number

    def add(
        self,
        kind: int,
        target: int,
        correlation: int,
        contract: int,
        body: bytes,
        budget_ms: int = 0,
        buffers: Sequence[Any] = (),
        reference: int = -1,
        *,
        step: str = "",
        value: int = 0,
        window: int = 0,
        trace: bytes = b"",
    ) -> None:
        """Append one envelope. What it has no need of is not written."""
        if window or trace:
            row = (kind, target, correlation, contract, body, budget_ms, buffers, reference, step)
            chunk = self._pack((*row, value, window, trace) if trace else (*row, value, window))
        elif step or value:
            row = (kind, target, correlation, contract, body, budget_ms, buffers, reference, step)
            chunk = self._pack((*row, value) if value else row)
        elif buffers or reference >= 0:
            chunk = self._pack(
                (kind, target, correlation, contract, body, budget_ms, buffers, reference)
            )
        else:
            chunk = self._pack((kind, target, correlation, contract, body, budget_ms))
        self._chunks.append(chunk)
        self.count += 1
        self.size_bytes += len(chunk)

    def add_part(self, value: int, total_bytes: int, part: bytes | memoryview) -> None:
        """Append a part of a large value of so many bytes; an empty one ends the value."""
        self.add(Kind.PART, total_bytes, value, NO_CONTRACT, b"", len(part))
        self._parts.append(part)
        self.size_bytes += len(part)

    def add_reference(self, reference: Any) -> int:
        """Send an object reference with the frame; gives its index."""
        self.references.append(reference)
        return len(self.references) - 1

    def finish(self, header: FrameHeader) -> bytes:
        """The bytes of the frame; the writer is empty afterwards."""
        packer = msgpack.Packer(autoreset=False, buf_size=PACKER_BYTES)
        packer.pack_array_header(3)
        packer.pack(tuple(header))
        packer.pack([(key.name, key.version, key.fingerprint) for key in self._contracts])
        packer.pack_array_header(self.count)
        self._chunks.insert(0, packer.bytes())
        table = b"".join(self._chunks)
        prefix = PREFIX.pack(MAGIC, zlib.crc32(table), len(table))
        data = b"".join((prefix, table, *self._parts))
        self._chunks = []
        self._parts = []
        self._contracts = {}
        self._classes = {}
        self.references = []
        self.count = 0
        self.size_bytes = 0
        return data


def decode_frame(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Frame:
    """The frame in `data`.

    Raises `FrameError` and nothing else, whatever the bytes: too long, truncated, altered,
    or of another form.
    """
    if len(data) > limits.frame_bytes_max:
        raise _bad(data, f"it is over the limit of {limits.frame_bytes_max} bytes")
    if len(data) < PREFIX.size:
        raise _bad(data, f"a frame has at least {PREFIX.size} bytes")
    magic, checksum, table_bytes = PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise _bad(data, f"it begins with {bytes(magic)!r}, not {MAGIC!r}")
    rest = memoryview(data)[PREFIX.size :]
    table, parts = rest[:table_bytes], rest[table_bytes:]
    if len(table) != table_bytes or zlib.crc32(table) != checksum:
        raise _bad(data, "its checksum is wrong: it was cut or altered")
    # A tuple takes its memory as soon as its length is read; no list of a frame is longer.
    items_max = max(limits.frame_messages_max, limits.contracts_max, limits.buffers_max)
    try:
        header, contracts, envelopes = msgpack.unpackb(
            table,
            max_array_len=min(items_max, len(table)),
            max_map_len=0,
            use_list=False,
            max_ext_len=0,
        )
        return Frame(
            _checked_header(header),
            _checked_contracts(contracts, limits),
            envelopes := _checked_envelopes(envelopes, len(contracts), limits),
            _checked_parts(envelopes, parts) if parts else parts,
        )
    except FrameError:
        raise
    except Exception as error:
        raise _bad(data, f"it does not decode: {type(error).__name__}: {error}") from error


def _bad(data: bytes, why: str) -> FrameError:
    return FrameError(
        f"{len(data)} bytes are not a frame: {why}.",
        advice="Both sides must run the same release of Callboard.",
        size_bytes=len(data),
    )


def _checked_header(row: tuple[Any, ...]) -> FrameHeader:
    header = FrameHeader(*row)
    if not all(type(number) is int and number >= 0 for number in header):
        raise ValueError("the header holds a value that is no whole number of at least 0")
    return header


def _checked_contracts(
    rows: tuple[tuple[Any, ...], ...], limits: Limits
) -> tuple[ContractKey, ...]:
    if len(rows) > limits.contracts_max:
        raise ValueError(f"{len(rows)} contracts, the limit is {limits.contracts_max}")
    return tuple(_checked_contract(*row) for row in rows)


def _checked_contract(name: Any, version: Any, fingerprint: Any) -> ContractKey:
    if type(name) is not str or type(version) is not int or type(fingerprint) is not int:
        raise ValueError("a row of the contract table is malformed")
    return ContractKey(name, version, fingerprint)


def _checked_envelopes(
    rows: tuple[tuple[Any, ...], ...], contracts: int, limits: Limits
) -> list[Envelope]:
    if len(rows) > limits.frame_messages_max:
        raise ValueError(f"{len(rows)} envelopes, the limit is {limits.frame_messages_max}")
    envelopes = []
    for row in rows:
        kind, target, correlation, contract, body, budget_ms = row[:FIELDS_ALWAYS]
        # One chained test: this loop runs for every message that arrives.
        if not (
            type(kind) is type(target) is type(correlation) is int
            and type(contract) is type(budget_ms) is int
            and type(body) is bytes
            and 0 <= kind < Kind.KINDS
            and NO_CONTRACT <= contract < contracts
        ):
            raise ValueError("an envelope is malformed")
        if len(row) == FIELDS_ALWAYS:
            envelopes.append(_new_tuple(Envelope, row + DEFAULTS))
        elif len(row) == FIELDS_OF_STEP and row[6:8] == NOTHING_APART and type(row[8]) is str:
            envelopes.append(_new_tuple(Envelope, row + DEFAULTS_OF_STEP))
        else:
            envelope = _new_tuple(Envelope, row + DEFAULTS[len(row) - FIELDS_ALWAYS :])
            _check_more(*envelope[FIELDS_ALWAYS:])
            envelopes.append(envelope)
    return envelopes


def _check_more(
    buffers: Any, reference: Any, step: Any, value: Any, window: Any, trace: Any
) -> None:
    if not (
        type(reference) is type(value) is type(window) is int
        and window >= 0
        and type(step) is str
        and type(buffers) is tuple
        and type(trace) is bytes
        and len(trace) in TRACE_SIZES
    ):
        raise ValueError("an envelope is malformed")
    if buffers and not all(type(buffer) is bytes for buffer in buffers):
        raise ValueError("a buffer is not bytes")


def _checked_parts(envelopes: list[Envelope], parts: memoryview) -> memoryview:
    lengths = [row.budget_ms for row in envelopes if row.kind == Kind.PART]
    if any(length < 0 for length in lengths) or sum(lengths) != len(parts):
        raise ValueError(f"its parts announce {lengths} bytes, but {len(parts)} follow")
    return parts
