"""The specialists as typed actors: one agent class and one request for each analyser.

An agent keeps its analyser for as long as it lives. It works in slices: when its time for
one request is over, it answers with what it has found and with the files that are left,
and the plan grows by these. So no batch holds up a host for long, whatever is in it, and a
host that dies takes little with it.

Analysers compute, so their handlers are synchronous and run in threads. But threads of one
process take turns at one interpreter, and cost a third of the work when they fight over
it: of one host's agents only one computes at a time, and more hosts make it faster.

Invariant: what the agents report about a file depends on that file alone, never on the
slices, batches or hosts that it came through.
"""

import threading
import time
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

from callboard import Agent, Context, Contract, Request, handler

from .finding import Finding

if TYPE_CHECKING:
    from .analysers import Analyser

__all__ = [
    "SLICE_S",
    "SPECIALISTS",
    "BatchFindings",
    "FindBadHabits",
    "FindComplexity",
    "FindDeadCode",
    "FindMistakes",
    "FindOddText",
    "FindWeaknesses",
    "ReviewBatch",
    "Specialist",
]

SLICE_S: Final = 0.5
"""How long an agent computes before others get their turn; one file is always finished."""

# A host is a process, and so is what its threads compete for.
_INTERPRETER: Final = threading.Lock()


class BatchFindings(Contract, name="review.batch_findings"):
    """What one specialist says about the files it came to, and which it did not come to."""

    specialist: str
    reviewed: tuple[str, ...]
    left: tuple[str, ...]
    findings: tuple[Finding, ...]
    busy_s: float


class ReviewBatch(Request[BatchFindings], name="review.batch"):
    """Some files under `root`, which every host must see under the same path."""

    root: str
    paths: tuple[str, ...]
    slice_s: float = SLICE_S


class FindWeaknesses(ReviewBatch, name="review.find_weaknesses"):
    """Look for security problems."""


class FindBadHabits(ReviewBatch, name="review.find_bad_habits"):
    """Look for what the syntax tree shows to be careless."""


class FindComplexity(ReviewBatch, name="review.find_complexity"):
    """Look for what is too complex."""


class FindMistakes(ReviewBatch, name="review.find_mistakes"):
    """Look for what a linter calls a mistake."""


class FindOddText(ReviewBatch, name="review.find_odd_text"):
    """Look at the text itself."""


class FindDeadCode(ReviewBatch, name="review.find_dead_code"):
    """Look for what nothing uses."""


class Specialist(Agent):
    """What all specialists share; a subclass says who it is and which request it takes."""

    specialist: ClassVar[str]
    """The name of its analyser, of its pool, and of the agent in findings."""
    request: ClassVar[type[ReviewBatch]]
    cost: ClassVar[int]
    """How long it takes for the same files, compared with the others."""
    computes_here: ClassVar[bool] = True
    """Whether it computes in its host's process, and not in one of its own."""

    @cached_property
    def _analyser(self) -> "Analyser":
        # Imported in a handler's thread: it takes a second, in which the loop must run.
        from .analysers import analyser

        return analyser(self.specialist)

    def look(self, request: ReviewBatch, ctx: Context) -> BatchFindings:
        """What the analyser finds within the time of one slice."""
        if not self.computes_here:
            return self._look(request, ctx.cancelled, len(request.paths))
        with _INTERPRETER:
            return self._look(request, ctx.cancelled, 1)

    def _look(
        self, request: ReviewBatch, cancelled: threading.Event, files_at_once: int
    ) -> BatchFindings:
        from .batch import analyse_batch

        started_s = time.monotonic()
        paths, done, findings = request.paths, 0, list[Finding]()
        while done < len(paths) and not cancelled.is_set():
            some = paths[done : done + files_at_once]
            findings += analyse_batch(self._analyser, request.root, some)
            done += len(some)
            if time.monotonic() - started_s >= request.slice_s:
                break
        return BatchFindings(
            specialist=self.specialist,
            reviewed=paths[:done],
            left=paths[done:],
            findings=tuple(findings),
            busy_s=time.monotonic() - started_s,
        )


class SecurityGuard(Specialist):
    """Bandit's agent."""

    specialist = "bandit"
    request = FindWeaknesses
    cost = 18

    @handler
    def find_weaknesses(self, request: FindWeaknesses, ctx: Context) -> BatchFindings:
        """Security problems."""
        return self.look(request, ctx)


class HabitWatcher(Specialist):
    """The agent of the own checks on the syntax tree."""

    specialist = "hygiene"
    request = FindBadHabits
    cost = 11

    @handler
    def find_bad_habits(self, request: FindBadHabits, ctx: Context) -> BatchFindings:
        """Careless constructions."""
        return self.look(request, ctx)


class ComplexityCounter(Specialist):
    """Radon's agent."""

    specialist = "radon"
    request = FindComplexity
    cost = 12

    @handler
    def find_complexity(self, request: FindComplexity, ctx: Context) -> BatchFindings:
        """Functions and files that are too complex."""
        return self.look(request, ctx)


class Linter(Specialist):
    """Ruff's agent: a tool of its own process, so it waits while others compute."""

    specialist = "ruff"
    request = FindMistakes
    cost = 2
    computes_here = False

    @handler
    def find_mistakes(self, request: FindMistakes, ctx: Context) -> BatchFindings:
        """A linter's findings."""
        return self.look(request, ctx)


class Proofreader(Specialist):
    """The agent of the checks on the text."""

    specialist = "text"
    request = FindOddText
    cost = 2

    @handler
    def find_odd_text(self, request: FindOddText, ctx: Context) -> BatchFindings:
        """Odd characters, long lines, leftovers."""
        return self.look(request, ctx)


class DeadCodeHunter(Specialist):
    """Vulture's agent."""

    specialist = "vulture"
    request = FindDeadCode
    cost = 12

    @handler
    def find_dead_code(self, request: FindDeadCode, ctx: Context) -> BatchFindings:
        """Code that nothing uses."""
        return self.look(request, ctx)


SPECIALISTS: Final[Mapping[str, type[Specialist]]] = MappingProxyType(
    {
        agent.specialist: agent
        for agent in (
            SecurityGuard, HabitWatcher, ComplexityCounter, Linter, Proofreader, DeadCodeHunter,
        )
    }
)  # fmt: skip
"""Every agent class by its specialist's name."""
