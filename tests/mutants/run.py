"""One run: draw the mutants, try those that have no result yet, and say what was found."""

import difflib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar, final

from .equivalent import Entry, Equivalents, entry_for
from .mutants import Mutant, mutants_of, sampled
from .reaching import Reach
from .session import Session, newest
from .targets import files_of, target_of
from .trial import Copy, Trial

__all__ = ["Request", "Summary", "cores", "run"]

Tell = Callable[[str], None]
ResultT = TypeVar("ResultT")


@final
@dataclass(frozen=True, slots=True)
class Request:
    """What to run."""

    root: Path
    sessions: Path
    """The folder of the sessions' files."""
    seed: int = 0
    sample: int | None = None
    """How many mutants; all without a number."""
    workers: int = 1
    only: tuple[str, ...] = ()
    """Beginnings of the files' names; all files without one."""
    again: bool = False
    """Only those that survived in the newest session, whatever the tests were then."""


@final
@dataclass(slots=True)
class Summary:
    """What came of it."""

    drawn: list[Mutant]
    of: int
    """How many mutants there are."""
    equivalents: list[tuple[Mutant, Entry]] = field(default_factory=list)
    unmet: Sequence[Entry] = ()
    trials: dict[str, Trial] = field(default_factory=dict)
    """The trials by the mutant's name."""
    survivors: list[tuple[Mutant, str]] = field(default_factory=list)
    """With what a person has to see of each."""
    broken: list[str] = field(default_factory=list)
    """The modules whose tests fail without a change: their mutants have no trial."""

    @property
    def found(self) -> int:
        """How many were found."""
        return sum(trial.is_found for trial in self.trials.values())

    @property
    def pending(self) -> int:
        """How many have no trial yet."""
        return len(self.drawn) - len(self.equivalents) - len(self.trials)

    @property
    def share(self) -> float:
        """The share that was found of those that were tried; 1 of none."""
        return self.found / len(self.trials) if self.trials else 1.0

    def report(self) -> str:
        """The survivors, the entries that match nothing, and the share, for people."""
        lines = [line for _, text in self.survivors for line in (text, "")]
        lines += self.broken
        for entry in self.unmet:
            place = f"{entry.file} {entry.function} {entry.operator}: {entry.source}"
            lines.append(f"no mutant is like this entry any more, delete it: {place}")
        took_s = sum(trial.took_s for trial in self.trials.values())
        each = took_s / len(self.trials) if self.trials else 0.0
        lines.append(
            f"{len(self.drawn)} of {self.of} mutants: {len(self.equivalents)} equivalent, "
            f"{self.found} found, {len(self.survivors)} survived, {self.pending} to do; "
            f"{self.share:.1%} of those that were tried are found ({each:.1f} s each)"
        )
        return "\n".join(lines)


def run(request: Request, tell: Tell) -> Summary:
    """Try the mutants; those of an interrupted run have their results already.

    Raises `TrialFailed` when tests do not run.
    """
    folder = Path(tempfile.mkdtemp(prefix="callboard-mutants-"))
    try:
        first = Copy(request.root, folder / "0")
        path = request.sessions / f"{first.fingerprint()}.sqlite"
        summary, text = _drawn(request, first.folder, path)
        session = Session(path)
        try:
            session.add(summary.drawn)
            _try_all(request, first, session, summary, text, tell)
        finally:
            session.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return summary


def _drawn(request: Request, root: Path, path: Path) -> tuple[Summary, Callable[[str], str]]:
    """The mutants of this run, of the files as they were copied."""

    @cache
    def text(file: str) -> str:
        return (root / file).read_text(encoding="utf-8")

    files = [f for f in files_of(root) if not request.only or f.startswith(request.only)]
    everything = [mutant for file in files for mutant in mutants_of(file, text(file))]
    drawn = sampled(everything, request.seed, request.sample)
    if request.again:
        survived = _survivors_of(request.sessions, path)
        drawn = [mutant for mutant in drawn if mutant.name in survived]
    listed = Equivalents.read(root / "tests" / "mutants" / "equivalent.toml")
    summary = Summary(drawn, len(everything))
    entries = {
        mutant.name: entry
        for mutant in everything
        if (entry := listed.entry_of(mutant, text(mutant.file))) is not None
    }
    summary.equivalents = [(m, entries[m.name]) for m in drawn if m.name in entries]
    summary.unmet = [entry for entry in listed.unmet() if entry.file in files or not request.only]
    return summary, text


def _survivors_of(sessions: Path, own: Path) -> set[str]:
    """The names of those that survived in the newest session that is not this run's own."""
    for path in newest(sessions):
        if path != own:
            session = Session(path)
            session.close()
            return {name for name, trial in session.trials.items() if not trial.is_found}
    return set()


def _try_all(
    request: Request,
    first: Copy,
    session: Session,
    summary: Summary,
    text: Callable[[str], str],
    tell: Tell,
) -> None:
    equivalent = {mutant.name for mutant, _ in summary.equivalents}
    wanted = [mutant for mutant in summary.drawn if mutant.name not in equivalent]
    pending = [mutant for mutant in wanted if mutant.name not in session.trials]
    for mutant in wanted:
        if mutant.name in session.trials:
            _count(summary, mutant, session.trials[mutant.name], text(mutant.file))
    with _Workers(first, min(request.workers, max(len(pending), 1))) as workers:
        new = {(target := target_of(m.file)).name: target for m in pending}
        for name in session.baselines:
            new.pop(name, None)

        def baseline(copy: Copy, name: str) -> Trial:
            return copy.baseline(new[name])

        for name, trial in workers.each(new, baseline):
            if trial.is_found:
                summary.broken.append(f"the tests of {name} fail without a change: {trial.how}")
                tell(summary.broken[-1])
            else:
                session.keep_baseline(name, trial)
                tell(f"{trial.took_s:.1f} s without a change: {name}")
        known = {
            name: (trial.took_s, Reach.read(trial.how)) for name, trial in session.baselines.items()
        }
        by_name = {m.name: m for m in pending if target_of(m.file).name in known}

        def attempt(copy: Copy, name: str) -> Trial:
            mutant = by_name[name]
            return copy.attempt(mutant, *known[target_of(mutant.file).name])

        for name, trial in workers.each(by_name, attempt):
            mutant = by_name[name]
            session.keep(mutant, trial, _diff(mutant, text(mutant.file)))
            _count(summary, mutant, trial, text(mutant.file))
            done = f"{len(summary.trials)}/{len(wanted)}"
            word = "found" if trial.is_found else "SURVIVED"
            tell(f"{done} {word} {trial.took_s:.1f} s {mutant.place}: {trial.how}")


def _count(summary: Summary, mutant: Mutant, trial: Trial, text: str) -> None:
    summary.trials[mutant.name] = trial
    if not trial.is_found:
        shown = [f"SURVIVED {mutant.place}", _diff(mutant, text), entry_for(mutant, text)]
        summary.survivors.append((mutant, "\n".join(shown)))


def _diff(mutant: Mutant, text: str) -> str:
    changed = mutant.code(text).splitlines()
    lines = difflib.unified_diff(text.splitlines(), changed, n=1, lineterm="")
    return "\n".join(list(lines)[2:])


@final
class _Workers:
    """So many copies of the tree, each with one trial at a time."""

    def __init__(self, first: Copy, count: int) -> None:
        folder = first.folder.parent
        self._copies = [first, *(Copy(first.folder, folder / str(n)) for n in range(1, count))]
        self._idle: SimpleQueue[Copy] = SimpleQueue()
        for copy in self._copies:
            self._idle.put(copy)
        self._pool = ThreadPoolExecutor(count)

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        """End what runs: nothing is left of it when all went well."""
        for copy in self._copies:
            copy.end()
        self._pool.shutdown(cancel_futures=True)

    def each(
        self, names: Iterable[str], work: Callable[[Copy, str], ResultT]
    ) -> Iterator[tuple[str, ResultT]]:
        """The results of `work` for each name, as they come."""

        def one(name: str) -> tuple[str, ResultT]:
            copy = self._idle.get()
            try:
                return name, work(copy, name)
            finally:
                self._idle.put(copy)

        for done in as_completed([self._pool.submit(one, name) for name in names]):
            yield done.result()


def cores() -> int:
    """How many workers a run has without a number."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
