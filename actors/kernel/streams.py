"""A reader of a stream: an ask whose items come one by one, before its reply.

    async for item in ref.stream(ReviewFile(path="a.py"), Finding):
        ...                                    # each Finding, and then the reply, a Findings

It is the asking side of `partials`. The handler sends as many items as the reader has room for, and
waits then; so a reader that stalls costs a window of items, wherever the handler runs.

The one limit of time is `timeout_s`, for the time without progress: an item has to come within it,
and a reader that has taken an item has to come back within it. Whichever passes ends the stream at
both sides, so no reader holds an actor for ever. Each grant gives the handler's side new time.

A reader that leaves (a `break`, an error, a cancellation) stops the handler, whose generator is
closed; see `AskFuture.cancel`.
"""

import asyncio
import functools
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, Final, Generic, Protocol, TypeVar

from callboard.messages.core.contract import Contract, Request, is_same_contract
from callboard.messages.core.errors import CallboardError, DeadlineExceeded, WrongReply
from callboard.messages.core.ref import Address
from callboard.messages.core.timeouts import TIMEOUT_S_MAX, checked_timeout

from .asks import Ask, AskFuture, Call
from .deadlines import Deadlines
from .directory.routing import Load

__all__ = ["WINDOW", "StreamFuture", "StreamHost", "StreamWindow", "read_stream"]

ItemT = TypeVar("ItemT")
WINDOW: Final = 16
"""Items of one stream that are under way or not taken, at most: of 64 KiB each."""
RENEWALS: Final = 4
"""A reader that makes progress gives the handler new time after this part of its timeout."""
PATIENCE: Final = 1.0 + 1.0 / RENEWALS
"""How many of the reader's timeouts the handler has: the reader decides, and its error says why."""


class StreamWindow(Generic[ItemT]):
    """The items that have come, and the room that the handler gets. Pure.

    Invariants: `room` and the items that wait are at most `size` together; while no item waits,
    the handler has room for half of `size` at least, so neither side waits for the other.
    """

    __slots__ = ("_granted_s", "_renew_s", "_size", "_taken", "items", "room")

    def __init__(self, size: int, timeout_s: float, now_s: float) -> None:
        self._size = size
        self._renew_s = timeout_s / RENEWALS
        self._granted_s = now_s
        self._taken = 0
        """Items that were taken and not granted again."""
        self.items: deque[ItemT] = deque()
        self.room = size
        """Items that may still come."""

    def put(self, item: ItemT) -> bool:
        """Keep an item that has come; False when there is no room for it."""
        if not self.room:
            return False
        self.room -= 1
        self.items.append(item)
        return True

    def take(self) -> ItemT:
        """The item that came first."""
        self._taken += 1
        return self.items.popleft()

    def grant(self, now_s: float) -> int | None:
        """The room to give the handler now, with new time; None while that can wait."""
        if 2 * self._taken < self._size and now_s - self._granted_s < self._renew_s:
            return None
        count, self._taken, self._granted_s = self._taken, 0, now_s
        self.room += count
        return count


class StreamHost(Protocol):
    """What a reader needs of its host."""

    @property
    def ask_timeout_s(self) -> float:
        """The default timeout."""

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines of its asks."""

    def now(self) -> float:
        """Its time in seconds."""

    def arm_deadlines(self) -> None:
        """Set the timer to the next expiry."""

    def ask(
        self,
        address: Address | Load | None,
        request: Request[Any],
        timeout_s: float | None = None,
        origin: Ask | None = None,
        kind: type[AskFuture] = AskFuture,
    ) -> Any:
        """See `Ref.ask`; the reply comes to a future of that kind."""

    def grant(self, call: Call, count: int, extra_s: float = 0.0) -> None:
        """Let the handler of a call send so many more, and give it so much time from now on."""


class StreamFuture(AskFuture):
    """The asker's side of a stream. It is done with the reply, or with the error."""

    window = WINDOW
    _waiter: "asyncio.Future[None] | None" = None

    def begin(
        self, host: StreamHost, items: type[Contract], timeout_s: float, origin: Ask | None
    ) -> None:
        """Take items of that contract, each within `timeout_s` and the deadline of `origin`."""
        self._host = host
        self._items = items
        self._timeout_s = timeout_s
        self._origin = origin
        self._core: StreamWindow[Contract] = StreamWindow(WINDOW, timeout_s, host.now())
        self._until_s = self._limit_s(timeout_s)
        if not self.done():
            host.deadlines.remove(self)  # That of its handler is later.
            self._watch()

    def _watch(self) -> None:
        if self._host.deadlines.add(self, self._until_s):
            self._host.arm_deadlines()

    def _limit_s(self, timeout_s: float) -> float:
        until_s = self._host.now() + timeout_s
        return until_s if self._origin is None else min(until_s, self._origin.deadline_s)

    def partial(self, correlation: int, message: Contract) -> None:
        """Take an item."""
        if self.done():
            return
        items = self._items
        if not (isinstance(message, items) or is_same_contract(type(message), items)):
            self._give_up(
                WrongReply(
                    f"{self.owner.path_asked(self)} yielded a {type(message).contract_name}, not a "
                    f"{items.contract_name}.",
                    advice="Name the contract that the handler yields, or a base of all of them.",
                )
            )
        elif not self._core.put(message):
            self._give_up(
                WrongReply(
                    f"{self.owner.path_asked(self)} yielded more than the {WINDOW} items that "
                    "there is room for.",
                    advice="Both hosts must run the same release of Callboard.",
                )
            )
        elif self._waiter is not None:
            _wake(self._waiter)

    async def wait(self) -> bool:
        """Wait for the next item; False when there is an outcome, and no item before it."""
        core = self._core
        while not core.items and not self.done():
            self._go_on()
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            # As a part: so a search for asks in a circle finds who waits.
            wake = functools.partial(_wake, waiter)
            self.add_done_callback(wake)
            try:
                await waiter
            finally:
                self._waiter = None
                self.remove_done_callback(wake)
        return bool(core.items)

    def take(self) -> Contract:
        """The item that came first; the reader is away with it, for as long as an item may take."""
        item = self._core.take()
        self._go_on()
        return item

    def _go_on(self) -> None:
        """The reader has made progress: it has new time, and sometimes the handler has."""
        if self.done():
            return
        host, timeout_s = self._host, self._timeout_s
        self._until_s = self._limit_s(timeout_s)
        count = self._core.grant(host.now())
        if count is not None:
            until_s = self._limit_s(timeout_s * PATIENCE)
            host.grant(self, count, max(0.0, until_s - host.now()))

    def expired(self) -> None:
        """The deadline of the request has passed: there may have been progress since then."""
        if self._host.now() < self._until_s:
            self._watch()
        elif self._waiter is None:
            self._give_up(self._stalled())
        else:
            super().expired()

    def _stalled(self) -> CallboardError:
        asked = self.owner.path_asked(self)
        return DeadlineExceeded(
            f"the reader of the {self.contract.contract_name} that {asked} answers took no item "
            f"for {self._timeout_s:g} s.",
            advice="Raise timeout_s, or take the items first and work on them elsewhere.",
            may_have_run=True,
        )

    def _give_up(self, error: CallboardError) -> None:
        if not self.done():
            self.set_exception(error)
            self._log_traceback = False
            self.owner.ask_abandoned(self, error)


def _wake(waiter: "asyncio.Future[None]", _outcome: object = None) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def read_stream(
    host: StreamHost,
    address: Address | Load | None,
    request: Request[Any],
    items: type[Contract],
    timeout_s: float | None,
    origin: Ask | None = None,
) -> AsyncGenerator[Any, None]:
    """See `Ref.stream`."""
    limit_s = host.ask_timeout_s if timeout_s is None else checked_timeout(timeout_s)
    future = host.ask(
        address, request, min(limit_s * PATIENCE, TIMEOUT_S_MAX), origin, StreamFuture
    )
    if not isinstance(future, StreamFuture):
        await future  # It was refused.
        return
    future.begin(host, items, limit_s, origin)
    try:
        while await future.wait():
            yield future.take()
        reply = future.result()
        if future.expects is not None:
            yield reply
    finally:
        future.cancel()
