"""A session: the results so far, in a file of cosmic-ray, so that a run can go on later."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, final

from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

from .mutants import Mutant
from .trial import Trial

__all__ = ["Session", "newest"]

BASELINE: Final = "baseline "


@final
class Session:
    """The trials of one state of the code and its tests."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = WorkDB(path, WorkDB.Mode.create)
        self._known = {item.job_id for item in self._db.work_items}
        self.trials: dict[str, Trial] = {}
        """The trials by the mutant's name."""
        self.baselines: dict[str, Trial] = {}
        """The trials without a change, by the name of the target."""
        for name, result in self._db.results:
            self._take(name, result)

    def add(self, mutants: Iterable[Mutant]) -> None:
        """Take mutants into the session."""
        items = [each.work_item() for each in mutants if each.name not in self._known]
        self._db.add_work_items(items)
        self._known.update(item.job_id for item in items)

    def keep_baseline(self, target: str, trial: Trial) -> None:
        """Keep the trial of a target without a change."""
        name = f"{BASELINE}{target}"
        if name not in self._known:
            self._db.add_work_item(WorkItem(name, ()))
            self._known.add(name)
        self._set(name, trial, "")

    def keep(self, mutant: Mutant, trial: Trial, diff: str) -> None:
        """Keep the trial of a mutant."""
        self._set(mutant.name, trial, diff)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _set(self, name: str, trial: Trial, diff: str) -> None:
        outcome = TestOutcome.KILLED if trial.is_found else TestOutcome.SURVIVED
        result = WorkResult(
            worker_outcome=WorkerOutcome.NORMAL,
            output=f"{trial.took_s:.3f} {trial.how}",
            test_outcome=outcome,
            diff=diff,
        )
        self._db.set_result(name, result)
        self._take(name, result)

    def _take(self, name: str, result: WorkResult) -> None:
        took, _, how = (result.output or "0 ").partition(" ")
        trial = Trial(is_found=result.is_killed, how=how, took_s=float(took))
        if name.startswith(BASELINE):
            self.baselines[name.removeprefix(BASELINE)] = trial
        else:
            self.trials[name] = trial


def newest(folder: Path) -> Iterator[Path]:
    """The files of sessions, the newest first."""
    yield from sorted(folder.glob("*.sqlite"), key=lambda path: path.stat().st_mtime, reverse=True)
