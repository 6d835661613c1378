"""One seed of one scenario: the run, the broken invariants, and the trace."""

import contextlib
import gc
import logging
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, final

from callboard.actors.kernel import failures
from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import CONTROL_SLOT
from callboard.messages.core.errors import CallboardError
from callboard.runtime.executions.journals import JournalOpener, no_journal
from callboard.runtime.hosting.environment import Environment
from callboard.runtime.testing.engine import environment_of
from callboard.runtime.testing.loop import SimulatedLoop
from callboard.runtime.testing.system import SimulatedSystem
from callboard.runtime.testing.world import World, WorldStuck

from . import fixture_actors
from .invariants import (
    AFTER_EACH_STEP,
    AT_REST,
    AT_THE_END,
    WHEN_DOWN,
    Invariant,
    links_are_well,
    sentence_of,
)
from .message_log import MessageLog
from .supervision_checker import checked_supervisors

__all__ = ["InvariantBroken", "Outcome", "Run", "Scenario", "run_seed", "run_seeds"]

STEP_COSTS_S: Final = (0.0, 0.0, 0.000_002, 0.000_05)
STICKINESS: Final = (0.0, 0.5, 0.9)
COLLECT_EVERY: Final = 25
"""Seeds between two garbage collections: each leaves one or two megabytes in cycles."""
TRACE_LINES: Final = 60
SETTLE_S: Final = 0.1
"""The time in which the last frames of a stopped system arrive."""
LOGGER: Final = logging.getLogger("callboard")

Scenario = Callable[["Run"], Coroutine[Any, Any, None]]


class InvariantBroken(CallboardError):
    """An invariant does not hold."""

    code = "invariant_broken"


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one seed."""

    scenario: str
    seed: int
    broken: str
    """The name of the invariant that broke; empty when all held."""
    seen: str
    digest: str
    """The hash of the whole run: equal for equal seeds, on every machine."""
    steps: int
    seconds: float
    """The virtual duration of the run."""
    trace: tuple[str, ...]
    """The last events of a run that broke an invariant."""

    def to_data(self) -> dict[str, Any]:
        """The outcome as data."""
        return asdict(self)

    def report(self) -> str:
        """The trace of a failing seed, and the command that runs it again."""
        lines = [
            f"seed {self.seed} of scenario {self.scenario!r} breaks an invariant.",
            f"  {self.broken}: {sentence_of(self.broken)}",
            f"  seen: {self.seen}",
            f"  after {self.steps} steps, {self.seconds:.3f} s; trace {self.digest}",
            *(f"    {line}" for line in self.trace),
            f"replay: callboard sim --first-seed {self.seed} --seeds 1 --scenario {self.scenario}",
        ]
        return "\n".join(lines)


class Run:
    """The run of one seed, for its scenario and its invariants."""

    ours: Final = frozenset(
        {
            fixture_actors.Receiver,
            fixture_actors.Sender,
            fixture_actors.Child,
            fixture_actors.SquaringAgent,
        }
    )
    """The actors that must have a supervisor: those of the kernel have none."""

    def __init__(self, seed: int) -> None:
        world = self.world = World(seed)
        draw = self.draw = world.random.random
        world.step_cost_s = STEP_COSTS_S[int(draw() * len(STEP_COSTS_S))]
        world.stickiness = STICKINESS[int(draw() * len(STICKINESS))]
        self.broken: list[tuple[str, str]] = []
        self.message_log = MessageLog(world, self.complain)
        world.recorder = self.message_log
        world.after_step = self._after_step
        self.tree_changes = 0
        self.environment: Environment = environment_of(
            world, make_supervisor=checked_supervisors(self)
        )
        self.open_journal: JournalOpener = no_journal
        self.permanent: set[str] = set()
        """Receivers that are never stopped on purpose, as `slot/cell`."""
        self.abandoned: set[int] = set()
        """Asks whose asker has died: no actor sees their outcome."""
        self._system: SimulatedSystem | None = None
        self._checked_changes: dict[SimulatedLoop, int] = {}
        self._newest: dict[int, int] = {}
        """The newest epoch of each slot that has a host."""

    # --- for scenarios ------------------------------------------------------------------

    @property
    def simulated(self) -> SimulatedSystem:
        """The system under test."""
        assert self._system is not None, "the scenario has not opened one"
        return self._system

    def watch(self, system: SimulatedSystem) -> None:
        """Set the system that the scenario has opened."""
        self._system = system

    def add_host(self, host: Host) -> None:
        """Check a host from now on."""
        loop: Any = host.loop
        loop.host = host
        if host.slot == CONTROL_SLOT and host.epoch == 1:
            self._newest.clear()  # Another system, whose predecessor was killed.
        self._newest[host.slot] = max(host.epoch, self._newest.get(host.slot, 0))

    def living(self) -> Iterator[Host]:
        """The control host, the hosts of all slots, and those of attached drivers."""
        return self.simulated.living()

    def complain(self, invariant: str, seen: str) -> None:
        """Record a broken invariant."""
        self.broken.append((invariant, seen))
        self.world.trace.note(self.world.now_s, f"{invariant}: {seen}")

    def check_end(self) -> None:
        """Check the system after it has healed and come to rest; raises `InvariantBroken`."""
        self._check(AT_THE_END)

    def check_now(self) -> None:
        """Raise `InvariantBroken` if there is a complaint."""
        self._raise()

    def check_down(self) -> None:
        """Check the stopped system, if there was one; raises `InvariantBroken`."""
        if self._system is not None:
            self._check(WHEN_DOWN)

    # --- checks -------------------------------------------------------------------------

    def _check(self, invariants: tuple[Invariant, ...]) -> None:
        for invariant in invariants:
            seen = invariant.check(self)
            if seen is not None:
                self.complain(invariant.name, seen)
        self._raise()

    def _after_step(self, loop: SimulatedLoop) -> None:
        host = loop.host
        if host is not None:
            if self._newest[host.slot] > host.epoch and not loop.is_dead:
                epochs = f"epoch {host.epoch} acts next to {self._newest[host.slot]}"
                self.complain("one_host_acts", f"{host.name}: {epochs}")
            at_rest = not loop.ready
            if (loop.is_touched or at_rest) and not loop.is_dead:
                loop.is_touched = False
                if not links_are_well(host):
                    self._complain_of(host)
                if at_rest:
                    self._at_rest(loop, host)
        if loop.errors:
            self.complain("no_error_of_its_own", loop.errors.pop())
        if self.broken:
            self._raise()

    def _complain_of(self, host: Host) -> None:
        for invariant in AFTER_EACH_STEP:
            seen = invariant.check(host)
            if seen is not None:
                self.complain(invariant.name, seen)

    def _at_rest(self, loop: SimulatedLoop, host: Host) -> None:
        changes = self.tree_changes
        for invariant in AT_REST[:-1] if self._checked_changes.get(loop) == changes else AT_REST:
            seen = invariant.check(self, host)
            if seen is not None:
                self.complain(invariant.name, seen)
        self._checked_changes[loop] = changes

    def _raise(self) -> None:
        if self._system is not None and self._system.engine.refusals:
            self.complain("no_error_of_its_own", self._system.engine.refusals[0])
        if self.broken:
            name, seen = self.broken[0]
            raise InvariantBroken(f"{name}: {seen}", advice=sentence_of(name))


def run_seed(name: str, scenario: Scenario, seed: int) -> Outcome:
    """Run one seed of a scenario; the outcome names a broken invariant."""
    run = Run(seed)
    world = run.world
    with _errors_seen(run):
        try:
            world.run(scenario(run))
            world.advance(SETTLE_S)
            run.check_down()
        except InvariantBroken:
            pass
        except WorldStuck as error:
            run.complain("it_ends", str(error))
        except CallboardError as error:
            run.complain("it_ends", f"the scenario itself failed: {error!r}")
    world.after_step = None
    world.close()
    broken, seen = run.broken[0] if run.broken else ("", "")
    trace = tuple(f"{at_s:9.4f} s  {text}" for at_s, text in list(world.trace.lines)[-TRACE_LINES:])
    return Outcome(
        name, seed, broken, seen, world.trace.digest, world.steps, world.now_s,
        trace if broken else (),
    )  # fmt: skip


def run_seeds(name: str, scenario: Scenario, seeds: Iterable[int]) -> Iterator[Outcome]:
    """Run many seeds of a scenario, one after the other."""
    was_collecting = gc.isenabled()
    gc.disable()  # It would scan all live objects again and again, for nothing.
    try:
        for count, seed in enumerate(seeds, start=1):
            yield run_seed(name, scenario, seed)
            if not count % COLLECT_EVERY:
                gc.collect()
    finally:
        if was_collecting:
            gc.enable()


class _Errors(logging.Handler):
    """Reports logged errors as defects; warnings are about the faults of the seed."""

    def __init__(self, run: Run) -> None:
        super().__init__(logging.ERROR)
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        """Record the error as a broken invariant."""
        why = f": {record.exc_info[1]!r}" if record.exc_info else ""
        self._run.complain("no_error_of_its_own", record.getMessage() + why)


class _NoTracebacks:
    """A stand-in for the `traceback` module while a seed runs."""

    @staticmethod
    def format_exception(error: BaseException) -> list[str]:
        """Only the type of the error."""
        return [type(error).__qualname__]


def _leave(_generator: Any) -> None:
    """Leave an open generator of a dead process as it is."""


@contextlib.contextmanager
def _errors_seen(run: Run) -> Iterator[None]:
    handler = _Errors(run)
    before = LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.ERROR)
    LOGGER.propagate = False
    # Tracebacks take time, and name files of this machine. Those must not get into frames:
    # a seed is the same run everywhere.
    failures.__dict__["traceback"] = _NoTracebacks
    # Open generators of a killed process stay as they are: it takes no step any more.
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(finalizer=_leave)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        failures.__dict__["traceback"] = traceback
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before[0])
        LOGGER.propagate = before[1]
