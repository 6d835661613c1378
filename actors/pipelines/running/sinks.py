"""Sinks: a table in the store of the pipeline, a log, files, an actor, and several by a route."""

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgpack

from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import joined, shown
from callboard.messages.storage.events import EVENT_ID_BYTES, NewEvent
from callboard.messages.storage.stores import ReadModelStore

from ...kernel.threads import ThreadRunner
from ..batch import DataBatch
from ..errors import StageOutputRefused
from ..letters import original_of
from ..stages.fields import fields_of
from .outgoing import encode_batch
from .ports import Delivery, OutsideSink

__all__ = [
    "AskSink",
    "CallSink",
    "DeliverRows",
    "FileSink",
    "LogSink",
    "MemorySink",
    "RouteSink",
    "RowsDelivered",
    "TableSink",
    "read_table",
]

PREFIX: Final = "row/"
PLAIN: Final = "plain"
"""The encoding of a row that is stored as it is."""
DIGITS: Final = 12
KEY_CHARACTERS_MAX: Final = 1_000


# --- in the store of the pipeline ------------------------------------------------------------


class TableSink:
    """Rows by key, in the store of the pipeline, in the transaction of their position.

    `key` names the fields that identify a row: a later row replaces an earlier one of the same
    key. Without `key` every row stays. Read the rows with `read_table`.
    """

    def __init__(self, key: Sequence[str] = ()) -> None:
        self._key = tuple(key)
        self.name: Final = f"table by {', '.join(self._key)}" if self._key else "table"

    def changes(self, batch: DataBatch, number: int) -> Mapping[str, bytes | None]:
        """See `InsideSink.changes`. Raises `StageOutputRefused` for a row without its key."""
        found: dict[str, bytes | None] = {}
        for place in range(batch.rows):
            row = batch.row(place)
            found[PREFIX + self._key_of(row, number, place)] = _packed(row)
        return found

    def _key_of(self, row: Any, number: int, place: int) -> str:
        if not self._key:
            return f"{number:0{DIGITS}}/{place:06}"
        try:
            fields = fields_of(row)
            key = joined(*(str(fields[name]) for name in self._key))
        except (KeyError, TypeError) as error:
            raise StageOutputRefused(
                f"a row for the table has no key {', '.join(self._key)}: {error!r}.",
                advice="Validate the rows before the sink.",
            ) from error
        if len(key) > KEY_CHARACTERS_MAX or "\0" in key or not key.isprintable():
            raise StageOutputRefused(
                f"a row for the table has the key {shown(key)}: it is too long, or has control "
                "characters.",
                advice="Clean or validate the key before the sink.",
            )
        return key


def _packed(row: Any) -> bytes:
    packed: bytes
    if type(row) is dict:
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            packed = msgpack.packb((PLAIN, row))
            return packed
    original, encoding = original_of(row)
    if encoding == "text":
        raise StageOutputRefused(
            f"a {type(row).__name__} cannot be stored in a table.",
            advice="Make plain values of it in the last stage.",
        )
    packed = msgpack.packb((encoding, original))
    return packed


def read_table(
    store: ReadModelStore, pipeline: str, *, after: str = "", limit: int = 1_000
) -> list[tuple[str, Any]]:
    """Rows of a pipeline's table, sorted by key, those after `after`. Blocks, like the store.

    A row that was bytes is bytes; a contract is a mapping of its fields.
    """
    start = PREFIX + after if after else ""
    rows = store.items(f"pipeline/{pipeline}", PREFIX, after=start, limit=limit)
    return [(key.removeprefix(PREFIX), _unpacked(value)) for key, value in rows]


def _unpacked(value: bytes) -> Any:
    encoding, original = msgpack.unpackb(value, strict_map_key=False)
    if encoding in (PLAIN, "bytes"):
        return original
    if encoding == "msgpack":
        return msgpack.unpackb(original, strict_map_key=False)
    return json.loads(original)


# --- outside ---------------------------------------------------------------------------------


class CallSink:
    """Calls a coroutine function with each delivery; it must know repeated numbers."""

    def __init__(self, call: Callable[[Delivery], Awaitable[None]], *, name: str = "call") -> None:
        self.name: Final = name
        self._call = call

    async def open(self) -> None:
        """See `OutsideSink.open`."""

    async def deliver(self, delivery: Delivery) -> None:
        """See `OutsideSink.deliver`."""
        await self._call(delivery)

    async def close(self) -> None:
        """See `OutsideSink.close`."""


class MemorySink:
    """Keeps rows in memory, each batch once; for tests."""

    name = "memory"

    def __init__(self) -> None:
        self.batches: dict[int, DataBatch] = {}

    @property
    def rows(self) -> list[Any]:
        """All rows, in the order of their batches."""
        found: list[Any] = []
        for number in sorted(self.batches):
            batch = self.batches[number]
            found += [batch.row(place) for place in range(batch.rows)]
        return found

    async def open(self) -> None:
        """See `OutsideSink.open`."""

    async def deliver(self, delivery: Delivery) -> None:
        """See `OutsideSink.deliver`."""
        self.batches.setdefault(delivery.number, delivery.batch)

    async def close(self) -> None:
        """See `OutsideSink.close`."""


class RowsDelivered(Contract, name="callboard.pipelines.rows_delivered"):
    """The rows are durable."""


class DeliverRows(Request[RowsDelivered], name="callboard.pipelines.deliver_rows"):
    """Take rows of a pipeline; a number that was taken before changes nothing."""

    pipeline: str
    """The name of the pipeline."""
    number: int
    """Grows with each delivery of the pipeline."""
    fence: int
    """The fencing token of the pipeline's incarnation: refuse one that is lower than another."""
    rows: bytes
    """The rows: `decode_batch` gives them."""


class AskSink:
    """An actor that answers `DeliverRows` once the rows are durable."""

    def __init__(
        self, ask: Callable[[DeliverRows], Awaitable[RowsDelivered]], *, name: str = "actor"
    ) -> None:
        self.name: Final = name
        self._ask = ask

    async def open(self) -> None:
        """See `OutsideSink.open`."""

    async def deliver(self, delivery: Delivery) -> None:
        """See `OutsideSink.deliver`. Raises an `AskError`."""
        await self._ask(
            DeliverRows(
                pipeline=delivery.pipeline,
                number=delivery.number,
                fence=delivery.fence,
                rows=encode_batch(delivery.batch),
            )
        )

    async def close(self) -> None:
        """See `OutsideSink.close`."""


class Appends(Protocol):
    """A log to append to: a `Journal`, or a `LogClient`."""

    def append(self, stream: str, events: Sequence[NewEvent], /) -> Awaitable[Any]:
        """Append events; the same events again change nothing."""


class LogSink:
    """Appends each row as an event to a stream of a log.

    The id of an event comes from the pipeline, the number of the batch and the row's place in it,
    so the log itself recognises a repetition.
    """

    def __init__(self, log: Appends, stream: str, kind: str) -> None:
        self.name: Final = f"stream {stream}"
        self._log = log
        self._stream = stream
        self._kind = kind

    async def open(self) -> None:
        """See `OutsideSink.open`."""

    async def deliver(self, delivery: Delivery) -> None:
        """See `OutsideSink.deliver`. Raises what `Journal.append` raises."""
        head = f"{delivery.pipeline}/{delivery.number}/".encode()
        events: list[NewEvent] = []
        for place in range(delivery.batch.rows):
            data, encoding = original_of(delivery.batch.row(place))
            digest = hashlib.blake2b(head + str(place).encode(), digest_size=EVENT_ID_BYTES)
            events.append(NewEvent(digest.digest(), self._kind, data, metadata=encoding.encode()))
        await self._log.append(self._stream, events)

    async def close(self) -> None:
        """See `OutsideSink.close`."""


class FileSink:
    """A file of lines for each batch in a folder: bytes as they are, other rows as JSON.

    A file appears whole, under a name with the number of the batch; the same number again
    replaces it by the same lines.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self.name: Final = str(folder)
        self._threads = ThreadRunner("write-files")

    async def open(self) -> None:
        """See `OutsideSink.open`."""
        await self._threads.call(self._make)

    def _make(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    async def deliver(self, delivery: Delivery) -> None:
        """See `OutsideSink.deliver`. Raises `OSError`."""
        await self._threads.call(self._write, delivery)

    def _write(self, delivery: Delivery) -> None:
        name = f"{delivery.pipeline}-{delivery.number:0{DIGITS}}.jsonl"
        temporary = self._folder / f".{name}"
        batch = delivery.batch
        with temporary.open("wb") as file:
            for place in range(batch.rows):
                file.write(_line(batch.row(place)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._folder / name)
        with contextlib.suppress(OSError):  # Some file systems cannot sync a folder.
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    async def close(self) -> None:
        """See `OutsideSink.close`."""
        self._threads.close()


def _line(row: Any) -> bytes:
    if isinstance(row, bytes):
        return row
    if isinstance(row, Contract):
        return row.model_dump_json().encode()
    return json.dumps(row, ensure_ascii=False, default=str).encode()


class RouteSink:
    """Sends each row to the sink that a field names, as a stage of the type `route` writes it."""

    def __init__(self, sinks: Mapping[str, OutsideSink], *, field: str = "route") -> None:
        if not sinks:
            raise UsageError("a route leads to no sink.", advice="Give sinks by their routes.")
        self._sinks = dict(sinks)
        self._field = field
        self.name: Final = "routes " + ", ".join(sinks)

    async def open(self) -> None:
        """See `OutsideSink.open`."""
        for sink in self._sinks.values():
            await sink.open()

    async def deliver(self, delivery: Delivery) -> None:
        """See `OutsideSink.deliver`. Raises `UsageError` for a route without a sink."""
        parts = delivery.batch.split(lambda row: str(fields_of(row).get(self._field)))
        unknown = sorted(set(parts) - set(self._sinks))
        if unknown:
            raise UsageError(
                f"there is no sink for the route {unknown[0]!r}.",
                advice="Give the pipeline a sink for each route.",
            )
        await asyncio.gather(
            *(
                self._sinks[route].deliver(delivery._replace(batch=part))
                for route, part in parts.items()
            )
        )

    async def close(self) -> None:
        """See `OutsideSink.close`."""
        for sink in self._sinks.values():
            await sink.close()
