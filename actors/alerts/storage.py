"""The rows of alerts in a store of read models: read, and replaced by one writer at a time.

The model's position counts the writes. A write states the position that it changes, so that a
second writer is noticed: another incarnation of the manager, which the row `owner` names by its
fencing token, or a command that has changed the silences while no system answered.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from callboard.messages.core.errors import CallboardError
from callboard.messages.core.fences import is_replaced
from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable, WriterFenced
from callboard.messages.storage.stores import ReadModelStore

from ..kernel.threads import ThreadRunner
from .encoding import MODEL, OWNER, Owner, Stored, decode, encode
from .silences import Silence

__all__ = ["STORE_S_MAX", "AlertRows", "read_rows"]

LOGGER: Final = logging.getLogger("callboard.alerts")
STORE_S_MAX: Final = 30.0
"""How long a call of the store is waited for."""
CLOSE_S_MAX: Final = 1.0
PAGE: Final = 1_000
TRIES_MAX: Final = 16


def read_rows(store: ReadModelStore, prefix: str = "") -> tuple[list[Stored], list[str]]:
    """The rows of a store, and the keys of those that do not decode. Blocks, like the store.

    Rows that do not decode stay as they are: a later release may know them.
    """
    rows: list[Stored] = []
    damaged: list[str] = []
    after = ""
    while found := store.items(MODEL, prefix, after=after, limit=PAGE):
        for key, data in found:
            try:
                rows.append(decode(key, data))
            except CallboardError as error:
                LOGGER.warning("%s", error)
                damaged.append(key)
        after = found[-1][0]
    return rows, damaged


class AlertRows:
    """One writer's rows. Belongs to one event loop."""

    def __init__(self, store: ReadModelStore, *, fence: int, name: str) -> None:
        self._store: Final = store
        self._owner: Final = Owner(fence, name)
        self._threads: Final = ThreadRunner("alerts")
        self._position = 0
        self._call: asyncio.Future[Any] | None = None
        self.damaged = 0
        """Rows that did not decode."""

    async def open(self) -> list[Stored]:
        """Take the rows over, and read them. Raises `WriterFenced`, and what the store raises."""
        await self._in_thread(self._store.open)
        stored: list[Stored] = await self._in_thread(self._claim)
        return stored

    def _claim(self) -> list[Stored]:
        for _ in range(TRIES_MAX):
            position = self._store.position(MODEL)
            rows, damaged = read_rows(self._store)
            for row in rows:
                if isinstance(row, Owner) and is_replaced(self._owner.fence, row.fence):
                    raise self._fenced(row)
            changes = {OWNER: encode(self._owner)}
            if self._store.apply(MODEL, position, position + 1, changes):
                self._position = position + 1
                self.damaged = len(damaged)
                return rows
        raise StoreUnavailable(
            f"{self._owner.name}: others changed the alerts {TRIES_MAX} times in a row.",
            advice="Try again.",
        )

    def _fenced(self, other: Owner) -> WriterFenced:
        return WriterFenced(
            f"the alerts belong to {other.name} with fencing token {other.fence}; "
            f"{self._owner.name} has {self._owner.fence}.",
            advice="Another process evaluates the rules, and this one ends.",
            may_have_run=False,
        )

    async def write(self, changes: Mapping[str, bytes | None]) -> list[Silence] | None:
        """Store these rows in one transaction.

        Gives None once they are stored. Gives the silences of the store, and stores nothing,
        when somebody else has changed them. Raises `WriterFenced` when another incarnation has
        taken the rows over, and what the store raises.
        """
        before = self._position
        try:
            is_stored = await self._in_thread(
                self._store.apply, MODEL, before, before + 1, dict(changes)
            )
        except CommitUnknown:
            # The same rows again: they are stored twice at most, which changes nothing.
            return await self._other_silences()
        if is_stored:
            self._position = before + 1
            return None
        return await self._other_silences()

    async def silences_if_changed(self) -> list[Silence] | None:
        """The silences of the store when somebody else has written; None otherwise."""
        position = await self._in_thread(self._store.position, MODEL)
        if position == self._position:
            return None
        return await self._other_silences()

    async def _other_silences(self) -> list[Silence]:
        silences: list[Silence] = await self._in_thread(self._read_silences)
        return silences

    def _read_silences(self) -> list[Silence]:
        position = self._store.position(MODEL)
        rows, _ = read_rows(self._store, "silence/")
        for owner in read_rows(self._store, OWNER)[0]:
            if isinstance(owner, Owner) and owner != self._owner:
                raise self._fenced(owner)
        self._position = position
        return [row for row in rows if isinstance(row, Silence)]

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call the store, one call at a time; a call that hangs fails all later ones."""
        if self._call is not None and not self._call.done():
            raise StoreUnavailable("the store of alerts does not answer.")
        self._call = call = self._threads.call(function, *args)
        try:
            async with asyncio.timeout(STORE_S_MAX):
                return await asyncio.shield(call)
        except TimeoutError:
            call.add_done_callback(_drop_outcome)
            self._position = -1  # It may still change the position: read it again.
            raise StoreUnavailable(
                f"the store of alerts did not answer within {STORE_S_MAX:g} s."
            ) from None

    async def close(self) -> None:
        """Release the store, after the call that is under way."""
        await self._threads.finish(self._store.close, CLOSE_S_MAX)


def _drop_outcome(call: "asyncio.Future[Any]") -> None:
    if not call.cancelled():
        call.exception()
