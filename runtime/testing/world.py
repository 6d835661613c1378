"""The world of one seed: its time, its random draws, and the order of steps.

    world = World(seed=7)
    result = world.run(main())       # `main` runs in the process "driver"
    world.close()

All random decisions of a run come from `world.random`, so a seed determines the whole run: the
same seed gives the same `world.trace.digest` on every machine. Nothing here reads a
clock, starts a thread, opens a socket or uses the state of the `random` module.
"""

import heapq
import itertools
import logging
import random
import warnings
from asyncio import events
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from callboard.messages.core.errors import CallboardError

from .loop import SimulatedLoop, Step
from .trace import Trace

__all__ = ["World", "WorldStuck"]

ResultT = TypeVar("ResultT")
STEPS_AT_ONCE_MAX: Final = 200_000
"""The most steps without a pause; more of them are an endless loop."""


class WorldStuck(CallboardError):
    """The run cannot continue: no event is left, or a loop is endless."""

    code = "world_stuck"


class World:
    """Processes, a clock, and a seed.

    `step_cost_s` is the virtual duration of each step; `stickiness` is the probability that a
    process continues when others are ready. Both decide about the interleavings of a run.
    """

    def __init__(self, seed: int, *, step_cost_s: float = 0.0, stickiness: float = 0.0) -> None:
        self.seed: Final = seed
        self.random: Final = random.Random(seed)  # noqa: S311 - no secrets
        self.now_s = 0.0
        """The world's time in seconds; the clocks of processes differ from it."""
        self.trace: Final = Trace()
        self.loops: Final[list[SimulatedLoop]] = []
        self.steps = 0
        self.step_cost_s = step_cost_s
        self.stickiness = stickiness
        self.recorder: Any = None
        """An object of the scenario in which its actors record observations."""
        self.after_step: Callable[[SimulatedLoop], None] | None = None
        """Called with the loop after each step, for instance to check invariants."""
        self._runnable: Final[list[SimulatedLoop]] = []
        self._timers: Final[list[tuple[float, int, Step]]] = []
        self._numbers: Final = itertools.count(1)
        self.outside: Final = SimulatedLoop(self, "world")
        """Runs the events of the world itself: faults, and the work of engines."""
        self.driver = SimulatedLoop(self, "driver")
        """The process of the driver and the control host; a new one replaces a killed one."""

    # --- for loops ----------------------------------------------------------------------------

    def mark_runnable(self, loop: SimulatedLoop) -> None:
        """Let a loop take turns: it has something to do."""
        if not (loop.is_dead or loop.is_runnable or loop.paused_until_s > self.now_s):
            loop.is_runnable = True
            self._runnable.append(loop)

    def unmark_runnable(self, loop: SimulatedLoop) -> None:
        """Let a loop take no turn for now."""
        if loop.is_runnable:
            loop.is_runnable = False
            self._runnable.remove(loop)

    def schedule(self, step: Step) -> None:
        """Make a step ready at its time."""
        heapq.heappush(self._timers, (step.due_s, next(self._numbers), step))

    def at(self, when_s: float, callback: Callable[..., Any], *args: Any) -> Step:
        """Run a callback at a time of the world, outside all processes."""
        return self.on(self.outside, when_s, callback, *args)

    def on(
        self, loop: SimulatedLoop, when_s: float, callback: Callable[..., Any], *args: Any
    ) -> Step:
        """Run a callback in a process at a time of the world."""
        step = Step(callback, args, loop, None)
        step.due_s = when_s
        self.schedule(step)
        return step

    # --- faults -------------------------------------------------------------------------------

    def pause(self, loop: SimulatedLoop, seconds: float) -> None:
        """Hang a process for some seconds: it takes no step, but its clock continues."""
        until_s = self.now_s + seconds
        if loop.is_dead or until_s <= loop.paused_until_s:
            return
        loop.paused_until_s = until_s
        self.unmark_runnable(loop)
        self.at(until_s, self._resume, loop)

    def _resume(self, loop: SimulatedLoop) -> None:
        if loop.ready:
            self.mark_runnable(loop)

    # --- running ------------------------------------------------------------------------------

    def run(
        self, main: Coroutine[Any, Any, ResultT], *, on: SimulatedLoop | None = None
    ) -> ResultT:
        """Run a coroutine in a process (by default the driver's) and return its result.

        Raises the coroutine's error, and `WorldStuck` when the run cannot continue.
        """
        loop = self.driver if on is None else on
        task = loop.create_task(main)
        self.run_until(task.done)
        result: ResultT = task.result()
        return result

    def advance(self, seconds: float) -> None:
        """Let time pass, and run all steps that are due meanwhile."""
        until_s = self.now_s + seconds
        reached: list[bool] = []
        self.at(until_s, reached.append, True)  # noqa: FBT003 - a marker
        self.run_until(lambda: bool(reached))

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """Take steps until `is_done` returns True; it is called after each step."""
        before = events._get_running_loop()  # noqa: SLF001 - a loop's own
        try:
            self._run_until(is_done)
        finally:
            events._set_running_loop(before)  # noqa: SLF001 - as above

    # One loop on purpose: it runs for every step of every seed.
    def _run_until(self, is_done: Callable[[], bool]) -> None:  # noqa: C901 - as above
        runnable, timers, trace = self._runnable, self._timers, self.trace
        draw, marks, enter = self.random.random, trace.steps, events._set_running_loop  # noqa: SLF001 - as above
        last: SimulatedLoop | None = None
        limit = self.steps + STEPS_AT_ONCE_MAX
        while not is_done():
            if not runnable:
                if not timers:
                    raise WorldStuck(
                        f"no event is left at {self.now_s:.6f} s.",
                        advice="The awaited event never comes: check the scenario for a deadlock.",
                    )
                self._next_moment()
                limit = self.steps + STEPS_AT_ONCE_MAX
                continue
            count = len(runnable)
            if count == 1:
                loop = runnable[0]
            elif last is not None and last.is_runnable and draw() < self.stickiness:
                loop = last
            else:
                loop = runnable[int(draw() * count)]
            if loop is not last:
                enter(loop)
                last = loop
            marks.append(loop.number & 255)
            step = loop.ready.popleft()
            if not step._cancelled:  # noqa: SLF001 - a step of ours
                try:
                    step._context.run(step._callback, *step._args)  # noqa: SLF001 - as above
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # noqa: BLE001 - as asyncio does it
                    loop.note_failure(step, error)
            self.steps += 1
            loop.steps += 1
            if not loop.ready:
                self.unmark_runnable(loop)
            if self.after_step is not None:
                self.after_step(loop)
            cost_s = self.step_cost_s
            if loop.step_cost_s:
                self.pause(loop, loop.step_cost_s)
            if cost_s:
                self.now_s += cost_s
                if timers and timers[0][0] <= self.now_s:
                    self._make_ready()
            if self.steps > limit:
                raise WorldStuck(
                    f"{loop.name} has taken {loop.steps} steps by {self.now_s:.6f} s.",
                    advice="Time does not advance: check the scenario for an endless loop.",
                )

    def _next_moment(self) -> None:
        due_s = self._timers[0][0]
        self.now_s = max(self.now_s, due_s)
        self._make_ready()

    def _make_ready(self) -> None:
        timers, now_s = self._timers, self.now_s
        self.trace.add_time(now_s)
        while timers and timers[0][0] <= now_s:
            _, _, step = heapq.heappop(timers)
            loop = step._loop  # noqa: SLF001 - a step of ours
            if step._cancelled or loop.is_dead:  # noqa: SLF001 - as above
                continue
            loop.ready.append(step)
            if not loop.is_runnable:
                self.mark_runnable(loop)

    # --- the end ------------------------------------------------------------------------------

    def timers_of(self, loop: SimulatedLoop) -> list[Step]:
        """The steps that are still due in a process, in order."""
        return [
            step
            for _, _, step in sorted(self._timers)
            if step._loop is loop and not step._cancelled  # noqa: SLF001 - a step of ours
        ]

    def close(self) -> None:
        """End all processes and close their coroutines."""
        # The deaths of the processes need no log messages.
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            with warnings.catch_warnings():
                # Python warns about coroutines that never began.
                warnings.simplefilter("ignore", RuntimeWarning)
                for loop in self.loops:
                    loop.close_tasks()
        finally:
            logging.disable(before)
        self._timers.clear()
        self._runnable.clear()
