"""The event loop of one simulated process: a queue, and a clock that the world advances.

It runs nothing by itself. The world draws the process of the next step; a step is one ready
callback of its loop. Within a loop, callbacks run in the order in which they became ready, as
asyncio promises. Between loops, the seed decides the order.

The loop of a dead process takes no step, that of a hung process continues later, and that of a slow
process takes few steps.
"""

import asyncio
import concurrent.futures
import contextvars
import math
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    NamedTuple,
    NoReturn,
    Protocol,
    TypeVar,
    TypeVarTuple,
)

from callboard.messages.core.errors import UsageError

if TYPE_CHECKING:
    # Actors may not use methods that are missing here: they raise NotImplementedError.
    _EventLoop = asyncio.BaseEventLoop
else:
    _EventLoop = asyncio.AbstractEventLoop

__all__ = ["Later", "Scheduler", "SimulatedLoop", "Step"]

ArgumentsT = TypeVarTuple("ArgumentsT")
ResultT = TypeVar("ResultT")
TASKS_KEPT: Final = 256
"""The number of tasks after which the loop forgets those that are done."""


class Later(NamedTuple):
    """The result of a blocking call that takes time: `then` returns the outcome after `seconds`.

    `then` may return another `Later`. A process that dies meanwhile never calls it.
    """

    seconds: float
    then: Callable[[], Any]


class Step(asyncio.TimerHandle):
    """One callback of one loop, ready now or due later."""

    __slots__ = ("due_s",)

    # Without the base's constructor: each seed makes ten thousand steps.
    def __init__(  # as above
        self,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: "SimulatedLoop",
        context: contextvars.Context | None,
        when_s: float = 0.0,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._scheduled = False
        self._when = when_s
        self.due_s = 0.0
        """Its due time on the world's clock."""

    def cancel(self) -> None:
        """Never run it."""
        self._cancelled = True
        self._callback = _nothing
        self._args = ()


def _nothing() -> None:
    """The callback of a cancelled step."""


class Scheduler(Protocol):
    """What a loop needs of its world: the time and the order of turns."""

    @property
    def now_s(self) -> float:
        """The world's time in seconds."""

    @property
    def loops(self) -> "list[SimulatedLoop]":
        """All loops so far, in the order of their creation."""

    def mark_runnable(self, loop: "SimulatedLoop") -> None:
        """Let a loop take turns: it has something to do."""

    def unmark_runnable(self, loop: "SimulatedLoop") -> None:
        """Let a loop take no turn for now."""

    def schedule(self, step: Step) -> None:
        """Make a step ready at its time."""


class SimulatedLoop(_EventLoop):
    """An asyncio event loop on a world's clock.

    `time()` is `offset_s + rate * world time`: clocks of different processes differ.
    """

    def __init__(
        self, world: Scheduler, name: str, *, rate: float = 1.0, offset_s: float = 0.0
    ) -> None:
        self.world: Final = world
        self.name: Final = name
        self.number: Final = len(world.loops)
        self.rate: Final = rate
        self.offset_s: Final = offset_s
        self.ready: Final[deque[Step]] = deque()
        self.is_runnable = False
        """Whether the world may draw it: it has ready steps and is not paused."""
        self.is_dead = False
        self.node = 0
        """The node that its process runs on; the driver and the cluster's head are on node 0."""
        self.paused_until_s = 0.0
        """The end of its pause, on the world's clock."""
        self.step_cost_s = 0.0
        """The virtual duration of each step; above 0 the process is slow."""
        self.steps = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._tasks_kept = TASKS_KEPT
        self.host: Any = None
        """The host that runs here, for observers."""
        self.is_touched = False
        """Whether a frame has arrived or left since the last observation."""
        self.errors: Final[list[str]] = []
        """The errors of callbacks: none in a correct run."""
        world.loops.append(self)

    def __repr__(self) -> str:
        return f"<SimulatedLoop {self.name}>"

    @property
    def is_paused(self) -> bool:
        """Whether its process hangs now."""
        return not self.is_dead and self.paused_until_s > self.world.now_s

    # --- time ---------------------------------------------------------------------------

    def time(self) -> float:
        """The clock of this process."""
        return self.offset_s + self.rate * self.world.now_s

    def world_time(self, when_s: float) -> float:
        """The first moment of the world at which this clock shows `when_s` or more."""
        due_s = (when_s - self.offset_s) / self.rate
        # Rounding must not run a callback before its due time.
        while self.offset_s + self.rate * due_s < when_s:
            due_s = math.nextafter(due_s, math.inf)
        return due_s

    # --- callbacks --------------------------------------------------------------------------

    def call_soon(
        self,
        callback: Callable[[*ArgumentsT], object],
        *args: *ArgumentsT,
        context: contextvars.Context | None = None,
    ) -> Step:
        """Run `callback` in a step of its own, after those that are ready already."""
        step = Step(callback, args, self, context)
        self.ready.append(step)
        if not self.is_runnable:
            self.world.mark_runnable(self)
        return step

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[[*ArgumentsT], object],
        *args: *ArgumentsT,
        context: contextvars.Context | None = None,
    ) -> Step:
        """Run `callback` once this clock has gone on by `delay`."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*ArgumentsT], object],
        *args: *ArgumentsT,
        context: contextvars.Context | None = None,
    ) -> Step:
        """Run `callback` when this clock shows `when`."""
        step = Step(callback, args, self, context, when)
        if math.isfinite(when):
            step.due_s = self.world_time(when)
            self.world.schedule(step)
        return step

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[[*ArgumentsT], ResultT],
        *args: *ArgumentsT,
    ) -> "asyncio.Future[ResultT]":
        """Run `func` in a later step of this loop: there are no threads here.

        A function that returns a `Later` continues then, even when its caller no longer waits.
        """
        future: asyncio.Future[ResultT] = self.create_future()

        def run(call: Callable[[], Any]) -> None:
            try:
                result = call()
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                if not future.done():
                    future.set_exception(error)
                return
            if type(result) is Later:
                self.call_later(result.seconds, run, result.then)
            elif not future.done():
                future.set_result(result)

        def begin() -> None:
            if not future.done():
                run(lambda: func(*args))

        self.call_soon(begin)
        return future

    # --- futures and tasks ------------------------------------------------------------------

    def create_future(self) -> "asyncio.Future[Any]":
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, ResultT] | Coroutine[Any, Any, ResultT],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **_options: Any,
    ) -> "asyncio.Task[ResultT]":
        """A task of this loop."""
        named = None if name is None else str(name)
        task: asyncio.Task[ResultT] = asyncio.Task(coro, loop=self, name=named, context=context)
        self.keep_task(task)
        return task

    def keep_task(self, task: "asyncio.Task[Any]") -> None:
        """Keep a task of this loop until it is done; a dispatcher makes those of its workers."""
        # A process that dies leaves pending tasks, which is no defect.
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - no other way
        self._tasks.append(task)
        if len(self._tasks) >= self._tasks_kept:
            self._tasks = self.tasks
            self._tasks_kept = TASKS_KEPT + 2 * len(self._tasks)

    @property
    def tasks(self) -> "list[asyncio.Task[Any]]":
        """Tasks that are not done, in the order of their creation."""
        return [task for task in self._tasks if not task.done()]

    # --- lifecycle ----------------------------------------------------------------------------

    def die(self) -> None:
        """End the process: it loses all callbacks and tasks at once, without clean-up."""
        self.is_dead = True
        self.ready.clear()
        self.world.unmark_runnable(self)

    def close_tasks(self) -> None:
        """Close the coroutines of a dead process without running them."""
        self.is_dead = True
        before = events._get_running_loop()  # noqa: SLF001 - a loop's own
        events._set_running_loop(self)  # noqa: SLF001 - as above
        try:
            while left := self.tasks:  # Closing a coroutine may make more tasks.
                self._tasks.clear()
                for task in left:
                    _close(task.get_coro())
        finally:
            events._set_running_loop(before)  # noqa: SLF001 - as above
        self.ready.clear()

    def get_debug(self) -> bool:
        """False: the debug mode uses real time."""
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's signature
        """Do nothing."""

    def is_running(self) -> bool:
        """Whether it may take steps."""
        return not self.is_dead

    def is_closed(self) -> bool:
        """Whether its process is dead."""
        return self.is_dead

    def close(self) -> None:
        """End the process, see `die`."""
        self.die()

    def note_failure(self, step: Step, error: BaseException) -> None:
        """Note that a callback has raised: none does in a correct run.

        A process goes on after `SystemExit` in user code, as a host does; its task has the error.
        """
        if isinstance(error, SystemExit):
            return
        self.errors.append(f"a callback of {self.name} raised {error!r} ({step!r})")

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Do nothing: the garbage collector calls it at no fixed time."""

    async def shutdown_asyncgens(self) -> None:
        """Do nothing."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's signature
        """Do nothing: there are no threads."""

    def run_forever(self) -> NoReturn:
        """Raises `UsageError`: a world runs its loops."""
        raise UsageError("a simulated loop cannot run by itself.", advice="Use World.run.")

    def run_until_complete(self, future: Any) -> NoReturn:
        """Raises `UsageError`: a world runs its loops."""
        self.run_forever()


def _close(coroutine: "Coroutine[Any, Any, Any] | Any") -> None:
    try:
        coroutine.close()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
