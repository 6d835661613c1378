"""The rows of approvals in a store of read models: read, and written by one owner at a time.

The model's position counts the writes. A write states the position that it changes, so a second
writer is noticed: another incarnation of the actor, which the row `owner` names by its fencing
token, or a command that has decided while no system answered.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from typing import Any, Final

from callboard.messages.control.approvals import Approval
from callboard.messages.core.fences import is_replaced
from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable, WriterFenced
from callboard.messages.storage.stores import ReadModelStore

from ..kernel.threads import ThreadRunner
from .core import Changes

__all__ = ["MODEL", "ApprovalRows", "read_approvals", "write_approvals"]

LOGGER: Final = logging.getLogger("callboard.approvals")
MODEL: Final = "callboard.approvals"
"""The name of the read model that holds the rows."""
OWNER: Final = "owner"
PREFIX: Final = "approval/"
FORMAT: Final = 1
STORE_S_MAX: Final = 30.0
"""How long a call of the store is waited for."""
CLOSE_S_MAX: Final = 1.0
PAGE: Final = 1_000
TRIES_MAX: Final = 16


def read_approvals(store: ReadModelStore) -> tuple[int, list[Approval]]:
    """The position of the rows, and all that decode. Blocks, like the store.

    A row that does not decode stays as it is: a later release may know it.
    """
    position = store.position(MODEL)
    rows: list[Approval] = []
    after = ""
    while found := store.items(MODEL, PREFIX, after=after, limit=PAGE):
        for key, data in found:
            try:
                fields = json.loads(data)
                if fields.pop("format") != FORMAT:
                    raise ValueError  # noqa: TRY301 - answered like every other wrong row
                rows.append(Approval.model_validate(fields))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                LOGGER.warning("the row %r of the approvals cannot be read", key)
        after = found[-1][0]
    return position, rows


def write_approvals(store: ReadModelStore, position: int, changes: Changes) -> bool:
    """Store rows in one transaction. False if somebody else has written. Blocks."""
    rows = {PREFIX + key: None if row is None else _encoded(row) for key, row in changes.items()}
    return store.apply(MODEL, position, position + 1, rows)


def _encoded(approval: Approval) -> bytes:
    return json.dumps({"format": FORMAT, **approval.model_dump(mode="json")}).encode()


class ApprovalRows:
    """One owner's rows. Belongs to one event loop; one call at a time."""

    def __init__(self, store: ReadModelStore, *, fence: int, name: str) -> None:
        self._store: Final = store
        self._fence: Final = fence
        self._name: Final = name
        self._threads: Final = ThreadRunner("approvals")
        self._position = -1
        """-1 when it is not known: then the next write is refused, and the rows are read again."""
        self._call: asyncio.Future[Any] | None = None

    async def open(self) -> list[Approval]:
        """Take the rows over, and read them. Raises `WriterFenced`, and what the store raises."""
        await self._in_thread(self._store.open)
        return await self._read(self._claim)

    def _claim(self) -> tuple[int, list[Approval]]:
        mine = json.dumps([self._fence, self._name]).encode()
        for _ in range(TRIES_MAX):
            position = self._store.position(MODEL)
            fence, name = self._owner()
            if is_replaced(self._fence, fence):
                raise self._fenced(fence, name)
            if self._store.apply(MODEL, position, position + 1, {OWNER: mine}):
                return read_approvals(self._store)
        raise StoreUnavailable("others changed the approvals again and again.", advice="Try again.")

    def _owner(self) -> tuple[int, str]:
        data = self._store.get_many(MODEL, [OWNER])[0]
        with contextlib.suppress(ValueError, TypeError):
            fence, name = json.loads(data or b"[]")
            return int(fence), str(name)
        return 0, ""

    def _fenced(self, fence: int, name: str) -> WriterFenced:
        return WriterFenced(
            f"the approvals belong to {name} with fencing token {fence}; {self._name} has "
            f"{self._fence}.",
            advice="Another process keeps the approvals, and this one ends.",
            may_have_run=False,
        )

    async def write(self, changes: Changes) -> bool:
        """Store rows in one transaction. False, and nothing is stored, if others have written.

        After False, and after an error, `reload` says what is stored.
        """
        before, self._position = self._position, -1
        try:
            is_stored = await self._in_thread(write_approvals, self._store, before, changes)
        except CommitUnknown:
            return False  # The rows say whether it was stored, and a repetition has no effect.
        if is_stored:
            self._position = before + 1
        return bool(is_stored)

    async def reload(self) -> list[Approval]:
        """The rows that others have written. Raises `WriterFenced` when another one owns them."""
        return await self._read(self._reread)

    def _reread(self) -> tuple[int, list[Approval]]:
        fence, name = self._owner()
        if (fence, name) != (self._fence, self._name):
            raise self._fenced(fence, name)
        return read_approvals(self._store)

    async def has_changed(self) -> bool:
        """Whether others have written."""
        found: int = await self._in_thread(self._store.position, MODEL)
        return found != self._position

    async def _read(self, read: Callable[[], tuple[int, list[Approval]]]) -> list[Approval]:
        self._position = -1
        rows: list[Approval]
        self._position, rows = await self._in_thread(read)
        return rows

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call the store, after the call that a cancelled caller has left."""
        try:
            async with asyncio.timeout(STORE_S_MAX):
                if self._call is not None and not self._call.done():
                    await asyncio.wait((self._call,))
                self._call = call = self._threads.call(function, *args)
                call.add_done_callback(_take_error)
                return await asyncio.shield(call)
        except TimeoutError:
            raise StoreUnavailable(
                f"the store of approvals did not answer within {STORE_S_MAX:g} s."
            ) from None

    async def close(self) -> None:
        """Release the store, after the call that is under way."""
        await self._threads.finish(self._store.close, CLOSE_S_MAX)


def _take_error(call: "asyncio.Future[Any]") -> None:
    if not call.cancelled():
        call.exception()
