"""The specialists as typed actors: one agent class and one request for each analyser.

An agent keeps its analyser until it stops. It works in slices: when its time for one request is
over, it replies with its findings and the remaining files, and the plan grows by these files. So no
batch occupies a host for long, and a host that dies loses little work.

Analysers compute, so their handlers are synchronous and run in threads. But the threads of one
process share one interpreter, and competition for it makes the work a third slower. So only one
agent of each host computes at a time, and more hosts make the review faster.

Invariant: the findings about a file depend on that file alone, never on slices, batches or hosts.
"""

import platform
import threading
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

from callboard import Agent, Context, Contract, Request, handler
from callboard.errors import ClusterError

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
"""How long an agent computes before others get their turn. It always finishes one file."""

# One per process, like the interpreter that it guards. A host is a process.
_INTERPRETER: Final = threading.Lock()


class BatchFindings(Contract, name="review.batch_findings"):
    """The findings of one specialist, with the reviewed files and the remaining ones."""

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
    """Look for careless constructions in the syntax tree."""


class FindComplexity(ReviewBatch, name="review.find_complexity"):
    """Look for code that is too complex."""


class FindMistakes(ReviewBatch, name="review.find_mistakes"):
    """Look for the mistakes that a linter finds."""


class FindOddText(ReviewBatch, name="review.find_odd_text"):
    """Look for problems in the text itself."""


class FindDeadCode(ReviewBatch, name="review.find_dead_code"):
    """Look for unused code."""


class Specialist(Agent):
    """The base of all specialists. A subclass sets its name, its request and its cost."""

    specialist: ClassVar[str]
    """The name of its analyser, of its pool, and of the agent in findings."""
    request: ClassVar[type[ReviewBatch]]
    cost: ClassVar[int]
    """The relative time that it takes for the same files."""
    computes_here: ClassVar[bool] = True
    """Whether it computes in the process of its host, not in its own process."""

    @cached_property
    def _analyser(self) -> "Analyser":
        # Imported in the thread of a handler, because it takes a second and must not block the
        # loop.
        from .analysers import analyser

        return analyser(self.specialist)

    def analyse(self, request: ReviewBatch, ctx: Context) -> BatchFindings:
        """The analyser's findings within the time of one slice."""
        if not self.computes_here:
            return self._analyse(request, ctx.cancelled, len(request.paths))
        with _INTERPRETER:
            return self._analyse(request, ctx.cancelled, 1)

    def _analyse(
        self, request: ReviewBatch, cancelled: threading.Event, files_at_once: int
    ) -> BatchFindings:
        from .batch import analyse_batch

        if not Path(request.root).is_dir():
            # A host that came up later, on another node. A finding must not stand for that.
            raise ClusterError(
                f"node {platform.node()} has no source tree {request.root}.",
                advice="Every node with a host needs the tree under the same path.",
            )
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
        return self.analyse(request, ctx)


class HabitWatcher(Specialist):
    """The agent of this example's checks on the syntax tree."""

    specialist = "hygiene"
    request = FindBadHabits
    cost = 11

    @handler
    def find_bad_habits(self, request: FindBadHabits, ctx: Context) -> BatchFindings:
        """Careless constructions."""
        return self.analyse(request, ctx)


class ComplexityCounter(Specialist):
    """Radon's agent."""

    specialist = "radon"
    request = FindComplexity
    cost = 12

    @handler
    def find_complexity(self, request: FindComplexity, ctx: Context) -> BatchFindings:
        """Functions and files that are too complex."""
        return self.analyse(request, ctx)


class Linter(Specialist):
    """Ruff's agent. The tool runs in its own process, and the agent waits for it."""

    specialist = "ruff"
    request = FindMistakes
    cost = 2
    computes_here = False

    @handler
    def find_mistakes(self, request: FindMistakes, ctx: Context) -> BatchFindings:
        """A linter's findings."""
        return self.analyse(request, ctx)


class Proofreader(Specialist):
    """The agent of the checks on the text."""

    specialist = "text"
    request = FindOddText
    cost = 2

    @handler
    def find_odd_text(self, request: FindOddText, ctx: Context) -> BatchFindings:
        """Odd characters, long lines, leftovers."""
        return self.analyse(request, ctx)


class DeadCodeHunter(Specialist):
    """Vulture's agent."""

    specialist = "vulture"
    request = FindDeadCode
    cost = 12

    @handler
    def find_dead_code(self, request: FindDeadCode, ctx: Context) -> BatchFindings:
        """Code that nothing uses."""
        return self.analyse(request, ctx)


SPECIALISTS: Final[Mapping[str, type[Specialist]]] = MappingProxyType(
    {
        agent.specialist: agent
        for agent in (
            SecurityGuard, HabitWatcher, ComplexityCounter, Linter, Proofreader, DeadCodeHunter,
        )
    }
)  # fmt: skip
"""Every agent class by its specialist's name."""
