"""A journal behind a web server, as commands read it: an `EventStore` for reading."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NoReturn, TypeVar

from callboard.messages.core.contract import Request
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import StoreReadOnly
from callboard.messages.storage.events import Append, Appended, RecordedEvent, Snapshot

from ..admin.journal import recorded
from ..admin.views import PAGE_MAX, JournalPage, ReadJournal, ReadStreams
from .sources import Source

__all__ = ["RemoteJournal"]

ReplyT = TypeVar("ReplyT")


class RemoteJournal:
    """Reads the journal of one system by its admin API."""

    def __init__(self, source: Source) -> None:
        self.name: Final = source.name
        """Where it is, for people."""
        self._source: Final = source
        # A loop of its own: commands read within `asyncio.run`, too.
        self._thread: Final = ThreadPoolExecutor(1, "remote-journal")

    def _ask(self, request: Request[ReplyT]) -> ReplyT:
        async def ask() -> ReplyT:
            return await self._source.ask(request)

        return self._thread.submit(asyncio.run, ask()).result()

    def writer(self) -> str:
        """The process that writes it."""
        return self._page(ReadJournal(limit=1)).owner.rpartition("/")[2]

    def _page(self, request: ReadJournal) -> JournalPage:
        return self._ask(request)

    # --- reading -------------------------------------------------------------------------------

    def open(self) -> None:
        """See `EventStore`; the server has it open."""

    def head(self) -> int:
        """See `EventStore`. It reads the whole log: commands follow streams instead."""
        after = 0
        while found := self.read(after, PAGE_MAX):
            after = found[-1].position
        return after

    def version_of(self, stream: str) -> int:
        """See `EventStore`."""
        found = self.read_stream(stream, limit=1, backwards=True)
        return found[0].version if found else 0

    def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """See `EventStore`."""
        wanted = None if kinds is None else tuple(kinds)
        found: list[RecordedEvent] = []
        while len(found) < limit:
            at_once = min(PAGE_MAX, limit - len(found))
            page = self._page(ReadJournal(after=after, limit=at_once, kinds=wanted))
            found += map(recorded, page.items)
            if not page.items or not page.has_more:
                break
            after = page.items[-1].position
        return found

    def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """See `EventStore`."""
        found: list[RecordedEvent] = []
        while len(found) < limit:
            at_once = min(PAGE_MAX, limit - len(found))
            page = self._page(
                ReadJournal(stream=stream, after=after, limit=at_once, is_backwards=backwards)
            )
            found += map(recorded, page.items)
            if not page.items or not page.has_more or (backwards and found[-1].version <= 1):
                break
            after = page.items[-1].version
        return found

    def streams(self, prefix: str = "", *, after: str = "", limit: int = 1_000) -> list[str]:
        """See `EventStore`."""
        page = self._ask(ReadStreams(prefix=prefix, after=after, limit=min(PAGE_MAX, limit)))
        return list(page.items)

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """See `EventStore`; snapshots stay with the journal."""
        return None

    def close(self) -> None:
        """See `EventStore`."""
        self._thread.shutdown()

    # --- writing -------------------------------------------------------------------------------

    def take_over(self, owner: str, fence: int = 0) -> int:
        """Refuse: its system writes it."""
        self._refuse()

    def commit(self, appends: Sequence[Append]) -> list[Appended | CallboardError]:
        """Refuse: its system writes it."""
        self._refuse()

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Refuse: its system writes it."""
        self._refuse()

    def drop_snapshots(self, stream: str) -> None:
        """Refuse: its system writes it."""
        self._refuse()

    def _refuse(self, *_given: Any) -> NoReturn:
        raise StoreReadOnly(
            f"the journal behind {self.name} is written by its system only.",
            advice="Send the system a command.",
        )
