"""Sources: rows in memory, lines of files, the events of a log, and events from outside."""

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from callboard.messages.core.errors import UsageError
from callboard.messages.storage.errors import StoreUnavailable
from callboard.messages.storage.events import EventStore, RecordedEvent
from callboard.messages.storage.incoming import ReceivedEvent, decoded

from ...kernel.threads import ThreadRunner
from ..batch import DataBatch
from .ports import SourcePage

__all__ = ["EventSource", "FileSource", "LogSource", "MemorySource"]

LINE_BYTES_MAX: Final = 1_000_000
"""A longer line is read as several rows, none of which will parse."""
POLL_S: Final = 0.05
MAGIC: Final = re.compile(r"[*?\[]")


class MemorySource:
    """Rows in memory; its position is the number of rows before."""

    def __init__(self, rows: Sequence[Any], *, name: str = "memory", ends: bool = True) -> None:
        self.name: Final = name
        self._rows = rows
        self._ends = ends

    async def open(self) -> None:
        """See `PipelineSource.open`."""

    async def read(self, after: Any, rows_max: int, wait_s: float) -> SourcePage:
        """See `PipelineSource.read`."""
        start = after or 0
        rows = tuple(self._rows[start : start + rows_max])
        if not rows and not self._ends and wait_s:
            await asyncio.sleep(wait_s)
        stop = start + len(rows)
        batch = DataBatch.of_rows(rows, source=self.name, position=start)
        return SourcePage(batch, stop, is_end=self._ends and stop >= len(self._rows))

    async def behind(self, after: Any) -> int | None:
        """See `PipelineSource.behind`."""
        return len(self._rows) - (after or 0)

    async def close(self) -> None:
        """See `PipelineSource.close`."""


class _Place(NamedTuple):
    """The position in files: the first line that was not read."""

    path: str
    offset: int


class FileSource:
    """The lines of files, as bytes and without their ends; use a stage of the type `parse` first.

    `pattern` is a path, or a pattern such as `in/*.jsonl`: files are read in the order of their
    names, and a file that comes later must sort after those before it. With `follow`, the source
    waits for further lines of the last file and for further files, and a line counts once its end
    is written. A position is a path and an offset.
    """

    def __init__(self, pattern: str, *, follow: bool = False) -> None:
        self.name: Final = pattern
        self._follow = follow
        self._threads = ThreadRunner("read-files")

    async def open(self) -> None:
        """See `PipelineSource.open`. Raises `UsageError` when there is no file to end with."""
        if not self._follow and not await self._threads.call(self._paths):
            raise UsageError(f"there is no file {self.name}.", advice="Check the path.")

    async def read(self, after: Any, rows_max: int, wait_s: float) -> SourcePage:
        """See `PipelineSource.read`."""
        until_s = asyncio.get_running_loop().time() + wait_s
        while True:
            page = await self._threads.call(self._page, after, rows_max)
            left_s = until_s - asyncio.get_running_loop().time()
            if page.batch.rows or page.is_end or left_s <= 0.0:
                return page
            await asyncio.sleep(min(POLL_S, left_s))

    def _page(self, after: Any, rows_max: int) -> SourcePage:
        try:
            return self._read(_Place(*after) if after else _Place("", 0), rows_max)
        except OSError as error:
            raise StoreUnavailable(
                f"{self.name} cannot be read: {error}.",
                advice="Put the file back: the pipeline goes on at its position.",
                may_have_run=False,
            ) from error

    def _paths(self) -> list[str]:
        path = Path(self.name)
        if not MAGIC.search(self.name):
            return [self.name] if path.exists() else []
        folder = Path(path.anchor or ".")
        pattern = path.relative_to(path.anchor) if path.anchor else path
        return sorted(map(str, folder.glob(str(pattern))))

    def _read(self, place: _Place, rows_max: int) -> SourcePage:
        paths = [path for path in self._paths() if path >= place.path]
        for number, path in enumerate(paths):
            offset = place.offset if path == place.path else 0
            lines, places, stop = self._lines(path, offset, rows_max)
            if lines:
                batch = DataBatch.of_rows(
                    lines, source=path, position=places[0], originals=lines, places=places
                )
                is_last = number == len(paths) - 1
                ends = is_last and not self._follow and stop >= Path(path).stat().st_size
                return SourcePage(batch, (path, stop), is_end=ends)
            place = _Place(path, max(offset, stop))
        empty = DataBatch.of_rows((), source=self.name)
        return SourcePage(empty, tuple(place) if place.path else None, is_end=not self._follow)

    def _lines(self, path: str, offset: int, rows_max: int) -> tuple[list[bytes], list[int], int]:
        """Lines, their offsets, and the offset after them."""
        lines: list[bytes] = []
        places: list[int] = []
        with Path(path).open("rb") as file:
            file.seek(offset)
            stop = offset
            while len(lines) < rows_max:
                line = file.readline(LINE_BYTES_MAX)
                is_whole = line.endswith(b"\n") or len(line) == LINE_BYTES_MAX
                if not line or (self._follow and not is_whole):
                    break
                if line.strip():
                    lines.append(line.rstrip(b"\r\n"))
                    places.append(stop)
                stop += len(line)
        return lines, places, stop

    async def behind(self, after: Any) -> int | None:
        """See `PipelineSource.behind`. It would have to count the lines."""
        return None

    async def close(self) -> None:
        """See `PipelineSource.close`."""
        self._threads.close()


class LogSource:
    """The events of a log, of all streams or of some kinds; its position is that of the log.

    A row has the fields `position`, `stream`, `version`, `kind`, `data` (bytes) and `recorded_at`,
    or is what `row_of` makes of an event; an event of which it makes None is passed over. Events of
    other processes are found by polling.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        kinds: Sequence[str] | None = None,
        row_of: Callable[[RecordedEvent], Any] | None = None,
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._row_of = row_of or _row
        self._threads = ThreadRunner("read-log")
        self.name = f"log {store.name}"

    async def open(self) -> None:
        """See `PipelineSource.open`."""
        await self._threads.call(self._store.open)

    async def read(self, after: Any, rows_max: int, wait_s: float) -> SourcePage:
        """See `PipelineSource.read`."""
        until_s = asyncio.get_running_loop().time() + wait_s
        start = int(after or 0)
        while True:
            head = await self._threads.call(self._store.head)
            events = await self._threads.call(self._events, start, rows_max)
            # Without events of these kinds up to the head, it need not be read again.
            start = events[-1].position if events else max(start, head)
            made = [(event.position, self._row_of(event)) for event in events]
            rows = [(position, row) for position, row in made if row is not None]
            left_s = until_s - asyncio.get_running_loop().time()
            if rows or left_s <= 0.0:
                break
            if not events:
                await asyncio.sleep(min(POLL_S, left_s))
        batch = DataBatch.of_rows(
            [row for _, row in rows],
            source=self.name,
            position=rows[0][0] if rows else start,
            places=[position for position, _ in rows],
        )
        return SourcePage(batch, start)

    def _events(self, after: int, limit: int) -> list[RecordedEvent]:
        return self._store.read(after, limit, kinds=self._kinds)

    async def behind(self, after: Any) -> int | None:
        """See `PipelineSource.behind`: positions, also of events of other kinds."""
        return max(0, await self._threads.call(self._store.head) - int(after or 0))

    async def close(self) -> None:
        """See `PipelineSource.close`. The store is closed by its owner."""
        self._threads.close()


class EventSource(LogSource):
    """Events that clients outside of the system have sent to some channels, in their order.

    `store` is the journal of the system whose web server takes them, opened for reading. A row has
    the fields `id`, `type`, `channel`, `at`, `subject`, `payload` and `tags`. The journal has each
    event once, by its id, before its sender gets an answer; so a row is there once after any kill.
    """

    def __init__(self, store: EventStore, channels: Sequence[str]) -> None:
        wanted = frozenset(channels)
        if not wanted:
            raise UsageError("a source of events names no channel.", advice="Name one.")

        def row_of(event: RecordedEvent) -> dict[str, Any] | None:
            received = decoded(ReceivedEvent, event)
            return _received_row(received) if received.channel in wanted else None

        super().__init__(store, kinds=[ReceivedEvent.contract_name], row_of=row_of)
        self.name = f"events of {', '.join(sorted(wanted))} in {self.name}"


def _received_row(event: ReceivedEvent) -> dict[str, Any]:
    return {
        "id": event.event_id,
        "type": event.event_type,
        "channel": event.channel,
        "at": event.at,
        "subject": event.subject,
        "payload": event.payload,
        "tags": event.tags,
    }


def _row(event: RecordedEvent) -> dict[str, Any]:
    return {
        "position": event.position,
        "stream": event.stream,
        "version": event.version,
        "kind": event.kind,
        "data": event.data,
        "recorded_at": event.recorded_at,
    }
