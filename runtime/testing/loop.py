"""The event loop of one simulated process: a queue, and a clock that the world turns.

It runs nothing by itself. The world draws which process takes its next step, and a step is
one ready callback of its loop. Within a loop callbacks run in the order in which they
became ready, as asyncio promises; between loops the order is the seed's.

A process that is dead, hung or slow is one whose loop is stepped never, later, or rarely.
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
    # Whatever of it is not here, no actor may use; at run time it raises NotImplementedError.
    _EventLoop = asyncio.BaseEventLoop
else:
    _EventLoop = asyncio.AbstractEventLoop

__all__ = ["Later", "Scheduler", "SimulatedLoop", "Step"]

ArgumentsT = TypeVarTuple("ArgumentsT")
ResultT = TypeVar("ResultT")
TASKS_KEPT: Final = 256
"""After so many tasks those that are done are forgotten."""


class Later(NamedTuple):
    """The result of a blocking call that takes time: `then` gives the outcome after `seconds`.

    `then` may give a `Later` again. A process that dies meanwhile never comes to it.
    """

    seconds: float
    then: Callable[[], Any]


class Step(asyncio.TimerHandle):
    """One callback of one loop, ready or due later."""

    __slots__ = ("due_s",)

    # Not the base's: a step is made ten thousand times for each seed.
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
        """When it is due, in the world's time."""

    def cancel(self) -> None:
        """Never run it."""
        self._cancelled = True
        self._callback = _nothing
        self._args = ()


def _nothing() -> None:
    """The callback of a cancelled step."""


class Scheduler(Protocol):
    """What a loop needs of its world: the time, and turns."""

    @property
    def now_s(self) -> float:
        """The world's time in seconds."""

    @property
    def loops(self) -> "list[SimulatedLoop]":
        """All loops that ever were, in the order of their making."""

    def list_loop(self, loop: "SimulatedLoop") -> None:
        """Let a loop take turns: it has something to do."""

    def unlist_loop(self, loop: "SimulatedLoop") -> None:
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
        self.is_listed = False
        """Whether the world may draw it: it has something to do, and may."""
        self.is_dead = False
        self.paused_until_s = 0.0
        """Until then, in the world's time, it is not stepped."""
        self.step_cost_s = 0.0
        """How long each of its steps takes; over 0 it is slow."""
        self.steps = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._tasks_kept = TASKS_KEPT
        self.host: Any = None
        """The host that runs here, for observers."""
        self.is_touched = False
        """Whether a frame has come or gone since the last observation."""
        self.errors: Final[list[str]] = []
        """The errors of callbacks: none in a healthy system."""
        world.loops.append(self)

    def __repr__(self) -> str:
        return f"<SimulatedLoop {self.name}>"

    @property
    def is_paused(self) -> bool:
        """Whether its process hangs now."""
        return not self.is_dead and self.paused_until_s > self.world.now_s

    # --- time ---------------------------------------------------------------------------

    def time(self) -> float:
        """This process' clock."""
        return self.offset_s + self.rate * self.world.now_s

    def world_time(self, when_s: float) -> float:
        """The first moment of the world at which this clock shows `when_s` or more."""
        due_s = (when_s - self.offset_s) / self.rate
        # A callback must see the time that it is due at: rounding may not run it too early.
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
        if not self.is_listed:
            self.world.list_loop(self)
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

        A function that gives a `Later` goes on then, also when its caller has given up waiting.
        """
        future: asyncio.Future[ResultT] = self.create_future()

        def run(call: Callable[[], Any]) -> None:
            try:
                result = call()
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt | SystemExit):
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
        # A process that dies leaves tasks behind, and that is no defect.
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - no other way
        self._tasks.append(task)
        if len(self._tasks) >= self._tasks_kept:
            self._tasks = self.tasks
            self._tasks_kept = TASKS_KEPT + 2 * len(self._tasks)
        return task

    @property
    def tasks(self) -> "list[asyncio.Task[Any]]":
        """Tasks that are not done, in the order of their making."""
        return [task for task in self._tasks if not task.done()]

    # --- life ---------------------------------------------------------------------------------

    def die(self) -> None:
        """Never step again: all callbacks and tasks are lost at once, without clean-up."""
        self.is_dead = True
        self.ready.clear()
        self.world.unlist_loop(self)

    def bury(self) -> None:
        """Close the coroutines of a dead process, quietly; nothing of it runs."""
        self.is_dead = True
        before = events._get_running_loop()  # noqa: SLF001 - a loop's own
        events._set_running_loop(self)  # noqa: SLF001 - as above
        try:
            while left := self.tasks:  # Closing a coroutine may leave more of them.
                self._tasks.clear()
                for task in left:
                    _close(task.get_coro())
        finally:
            events._set_running_loop(before)  # noqa: SLF001 - as above
        self.ready.clear()

    def get_debug(self) -> bool:
        """Never: it would look at real time."""
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's signature
        """Nothing changes."""

    def is_running(self) -> bool:
        """Whether it may be stepped."""
        return not self.is_dead

    def is_closed(self) -> bool:
        """Whether its process is dead."""
        return self.is_dead

    def close(self) -> None:
        """The same as the death of its process."""
        self.die()

    def failed(self, step: Step, error: BaseException) -> None:
        """Note that a callback has raised: in a kernel that is well none does."""
        self.errors.append(f"a callback of {self.name} raised {error!r} ({step!r})")

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Nothing: the garbage collector calls it at no fixed time."""

    async def shutdown_asyncgens(self) -> None:
        """There is nothing to do."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's signature
        """There are no threads."""

    def run_forever(self) -> NoReturn:
        """Raises `UsageError`: a world runs its loops."""
        raise UsageError("a simulated loop does not run by itself.", advice="Use World.run.")

    def run_until_complete(self, future: Any) -> NoReturn:
        """Raises `UsageError`: a world runs its loops."""
        self.run_forever()


def _close(coroutine: "Coroutine[Any, Any, Any] | Any") -> None:
    try:
        coroutine.close()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
