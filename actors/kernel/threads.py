"""Threads for calls that block: those of stores, and those of synchronous handlers.

A `ThreadRunner` has few threads, for calls that a part of Callboard makes itself, as those of a
store. `HandlerThreads` run the users' synchronous handlers, any of which may hang for ever.

Users' code in a thread may raise anything. What is no `Exception` stops at the thread: in the
event loop a `SystemExit` would end all actors, and a `CancelledError` count as a cancellation.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from .circles.runs import Run
from .isolation import fresh_context

__all__ = [
    "HUNG_MAX",
    "THREADS_MAX",
    "HandlerThreads",
    "ThreadCall",
    "ThreadRunner",
    "current_run",
]

LOGGER: Final = logging.getLogger("callboard.threads")
ReturnT = TypeVar("ReturnT")

THREADS_MAX: Final = 32
"""Calls of one host that run at the same time, without those that hang."""
HUNG_MAX: Final = 256
"""Threads of one host: with so many hung calls, no other call can begin."""
_CURRENT: Final = threading.local()
NAMED_MAX: Final = 5
"""Hung calls that an error names."""


class ThreadRunner:
    """Runs calls in at most `threads` threads, in their order. It belongs to one event loop.

    For calls that `may_hang` there are as many threads as calls, in no order, and the process does
    not wait for them when it ends.
    """

    def __init__(self, name: str, threads: int = 1, *, may_hang: bool = False) -> None:
        self._threads: concurrent.futures.Executor = (
            _DaemonThreads(f"callboard-{name}", threads)
            if may_hang
            else concurrent.futures.ThreadPoolExecutor(threads, f"callboard-{name}")
        )

    def call(self, function: Callable[..., ReturnT], *args: Any) -> "asyncio.Future[ReturnT]":
        """Run the function in a thread. A cancellation does not end a call that has begun.

        Raises what the function raises; `RuntimeError` for what is no `Exception`.
        """
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, _contained, function, *args)

    async def finish(self, last: Callable[[], object], timeout_s: float) -> None:
        """Run `last` after the waiting calls, and close; raises nothing.

        A call that hangs does not block the caller: after `timeout_s` the caller goes on.
        """
        await asyncio.wait((self.call(last),), timeout=timeout_s)
        self.close()

    def close(self) -> None:
        """Accept no more calls; the calls under way run to their end."""
        if isinstance(self._threads, _DaemonThreads):
            self._threads.close()
        else:
            self._threads.shutdown(wait=False)


def _contained(function: Callable[..., ReturnT], *args: Any) -> ReturnT:
    try:
        return function(*args)
    except BaseException as error:
        contained = _as_exception(error)
        if contained is error:
            raise
        raise contained from error


def _as_exception(error: BaseException) -> Exception:
    """The error itself, or a `RuntimeError` in its place."""
    # A future cannot hold a StopIteration: its waiter would wait for ever.
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    contained = RuntimeError(f"{type(error).__name__} was raised in a thread: {error}")
    contained.__cause__ = error
    return contained


class _Raised(NamedTuple):
    error: BaseException


def current_run() -> Run[Any] | None:
    """The run whose handler is called in this thread; None in other threads."""
    run: Run[Any] | None = getattr(_CURRENT, "run", None)
    return run


class ThreadCall:
    """One call in a thread."""

    __slots__ = (
        "_arguments",
        "_context",
        "_function",
        "_outcome",
        "ended",
        "has_begun",
        "run_of",
        "timer",
        "until_s",
        "where",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        where: Callable[[], str],
        until_s: float = math.inf,
        run_of: Run[Any] | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        self._function = function
        self._context = context
        self.run_of = run_of
        """The run of the handler that it calls, if it calls one."""
        self._arguments = arguments
        self._outcome: Any = None
        self.where = where
        """Names what runs, for people."""
        self.until_s = until_s
        """The time at which nobody waits for it any more; infinite without a deadline."""
        self.has_begun = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.timer: asyncio.TimerHandle | None = None
        """Set while it runs in its time."""

    def run(self) -> Any:
        """Call the function, in a context of its own; what it raises is a part of the outcome."""
        _CURRENT.run = self.run_of
        try:
            context = fresh_context() if self._context is None else self._context
            return context.run(self._function, *self._arguments)
        except BaseException as error:  # noqa: BLE001 - a user's function may raise anything
            return _Raised(error)
        finally:
            _CURRENT.run = None

    def settle(self, outcome: Any) -> None:
        """It has ended with this outcome of `run`."""
        self._outcome = outcome
        if not self.ended.done():
            self.ended.set_result(None)

    def result(self) -> Any:
        """What the function returned; raises what it raised."""
        if type(self._outcome) is not _Raised:
            return self._outcome
        error = self._outcome.error
        raise _as_exception(error) if isinstance(error, StopIteration) else error


class HandlerThreads:
    """The threads of one host's synchronous handlers. Belongs to one event loop.

    At most `THREADS_MAX` calls run at the same time; others wait in their order. A call that takes
    more than its time *hangs*: its thread cannot be stopped, but leaves that number, so that it
    keeps nobody waiting. At `HUNG_MAX` hung calls none begins any more, until one of them ends.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, patience_s: float) -> None:
        self._loop = loop
        self._patience_s = patience_s
        """The time of a call without a deadline, as that of a tell."""
        self._name = name
        self._threads = _DaemonThreads("callboard-handler", THREADS_MAX)
        self._waiting: deque[ThreadCall] = deque()
        self._running = 0
        self._hung_most = 0
        self.hung: Final[dict[ThreadCall, None]] = {}
        """The calls that run after their time, in the order of its end."""
        self.refused = 0
        """Asks that were refused because too many calls hang."""

    @property
    def is_full(self) -> bool:
        """Whether no call can begin before a hung one ends."""
        return len(self.hung) >= HUNG_MAX

    def start(self, call: ThreadCall) -> None:
        """Begin a call as soon as there is room."""
        self._waiting.append(call)
        self._begin()

    def give_up(self, call: ThreadCall) -> None:
        """Nobody waits for the call any more: it hangs, or never begins."""
        if call.timer is None:
            with contextlib.suppress(ValueError):
                self._waiting.remove(call)
            return  # It has not begun, or has ended, or hangs already.
        self._end_time(call)
        self.hung[call] = None
        self._running -= 1
        if len(self.hung) > self._hung_most:
            self._hung_most = 2 * len(self.hung) - 1
            LOGGER.warning(
                "%s runs in a thread of host %s after its time, and so do %d others. Give blocking "
                "calls a timeout, or check ctx.cancelled.",
                call.where(),
                self._name,
                len(self.hung) - 1,
            )
        self._begin()

    def names(self) -> str:
        """The calls that hang, for people: the first ones, and how many more."""
        first = [call.where() for call, _ in zip(self.hung, range(NAMED_MAX), strict=False)]
        more = len(self.hung) - len(first)
        return ", ".join(first) + (f" and {more} more" if more else "")

    def close(self) -> None:
        """Begin no more calls. A running thread cannot be stopped; its result is dropped."""
        self._waiting.clear()
        self._threads.close()

    def _begin(self) -> None:
        while self._waiting and self._running < min(THREADS_MAX, HUNG_MAX - len(self.hung)):
            call, now_s = self._waiting.popleft(), self._loop.time()
            if call.until_s <= now_s:
                continue  # Its deadline is about to end it.
            ends_s = now_s + self._patience_s if math.isinf(call.until_s) else call.until_s
            call.timer = self._loop.call_at(ends_s, self.give_up, call)
            call.has_begun = True
            self._running += 1
            ends = self._loop.run_in_executor(self._threads, call.run)
            ends.add_done_callback(functools.partial(self._ended, call))

    def _end_time(self, call: ThreadCall) -> None:
        timer, call.timer = call.timer, None
        if timer is not None:
            timer.cancel()

    def _ended(self, call: ThreadCall, done: "asyncio.Future[Any]") -> None:
        self._end_time(call)
        if call in self.hung:
            del self.hung[call]
        else:
            self._running -= 1
        if done.cancelled():
            call.settle(_Raised(RuntimeError("the threads are closed.")))
        else:
            error = done.exception()
            call.settle(done.result() if error is None else _Raised(error))
        self._begin()


class _DaemonThreads(concurrent.futures.Executor):
    """As many threads as there are calls; the last `idle_max` are kept for the next calls.

    The process does not wait for them when it ends: one that hangs would keep it alive for ever.
    """

    def __init__(self, name: str, idle_max: int) -> None:
        self._name = name
        self._idle_max = idle_max
        self._idle: deque[queue.SimpleQueue[Any]] = deque()
        self._number = 0
        self._is_closed = False

    def submit(
        self, function: Callable[..., Any], /, *args: Any, **keywords: Any
    ) -> "concurrent.futures.Future[Any]":
        """Run the function in a thread that is idle, or a new one."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        work = (future, functools.partial(function, *args, **keywords))
        try:
            self._idle.pop().put(work)
        except IndexError:
            self._number += 1
            threading.Thread(
                target=self._serve, args=(work,), name=f"{self._name}_{self._number}", daemon=True
            ).start()
        return future

    def close(self) -> None:
        """End the idle threads, and each other one after its call."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().put(None)

    def _serve(self, work: Any) -> None:
        mine: queue.SimpleQueue[Any] = queue.SimpleQueue()
        while work is not None:
            future, function = work
            outcome: Any = None
            failure: BaseException | None = None
            runs = future.set_running_or_notify_cancel()
            if runs:
                try:
                    outcome = function()
                except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                    failure = error
            # Idle before the result is out: the next call of its receiver finds this thread.
            stays = not self._is_closed and len(self._idle) < self._idle_max
            if stays:
                self._idle.append(mine)
            if failure is not None:
                future.set_exception(failure)
            elif runs:
                future.set_result(outcome)
            del future, function, outcome, failure, work
            if not stays:
                return
            if self._is_closed:
                self.close()
            work = mine.get()
