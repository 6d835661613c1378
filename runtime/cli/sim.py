"""`callboard sim`: runs many seeds of a built-in scenario, and reports the seeds that fail.

The built-in scenarios test Callboard itself. They lie in `tests/simulation`, which a clone of the
repository has and an installed package does not.
"""

import contextlib
import importlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

import click

from callboard.messages.core.errors import UsageError

from .outcome import ExitCode

__all__ = ["load_built_in", "sim"]

SCENARIOS: Final = Path(__file__).resolve().parents[2] / "tests" / "simulation"
"""The scenarios of a clone. `resolve` follows the links of `src/callboard` to the clone's root."""
PACKAGE: Final = "callboard_simulation"
"""The name for importing them. `tests` may be a package of the user."""
PROGRESS_S: Final = 1.0
FAILURES_MAX: Final = 10
"""After so many failing seeds the run ends: more of them show nothing new."""


class Outcome(Protocol):
    """The outcome of one seed."""

    @property
    def broken(self) -> str:
        """The name of the invariant that broke; empty when all held."""

    @property
    def steps(self) -> int:
        """How many steps the run took."""

    def report(self) -> str:
        """The trace of the run, and the command that runs the seed again."""

    def to_data(self) -> dict[str, Any]:
        """The outcome for machines."""


def load_built_in(module: str) -> Any:
    """A module of the built-in scenarios; raises `UsageError` when there is no clone."""
    if not (SCENARIOS / "scenarios.py").is_file():
        raise UsageError(
            "the built-in scenarios come with the source of Callboard, and this is an installed "
            "package.",
            advice="Clone the repository, run `make setup`, and run `callboard sim` from its "
            ".venv. To simulate your own actors you need no clone: write a scenario and call "
            "`callboard.testing.simulate(scenario, seed=1)`; docs/testing.md shows how.",
        )
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE, "The built-in scenarios of this clone.")
        package.__path__ = [str(SCENARIOS)]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.{module}")


def sim(
    *,
    seeds: int,
    first_seed: int,
    name: str,
    defect: str | None,
    as_json: bool,
) -> None:
    """Perform the command; `commands/` declares it."""
    context = click.get_current_context()
    scenarios = load_built_in("scenarios").SCENARIOS
    mutations = load_built_in("mutations").MUTATIONS
    run_seeds = load_built_in("run").run_seeds
    scenario = scenarios.get(name)
    if scenario is None:
        known = ", ".join(scenarios)
        raise click.BadParameter(f"there is no scenario {name!r}; there are {known}.")
    mutation = None if defect is None else mutations.get(defect)
    if defect is not None and mutation is None:
        known = ", ".join(mutations)
        raise click.BadParameter(f"there is no defect {defect!r}; there are {known}.")
    began_s = shown_s = time.monotonic()
    broken: list[Outcome] = []
    done = steps = 0
    with contextlib.nullcontext() if mutation is None else mutation.applied():
        for outcome in run_seeds(name, scenario, range(first_seed, first_seed + seeds)):
            done += 1
            steps += outcome.steps
            if outcome.broken:
                broken.append(outcome)
                _show(outcome, as_json=as_json)
                if len(broken) >= FAILURES_MAX:
                    break
            if not as_json and time.monotonic() - shown_s > PROGRESS_S:
                shown_s = time.monotonic()
                _progress(f"{name}: {done} of {seeds} seeds, {len(broken)} broke an invariant")
    took_s = time.monotonic() - began_s
    _progress("")
    if as_json:
        print(json.dumps(_summary(name, first_seed, done, steps, took_s, broken)))
    else:
        print(
            f"{name}: {done} seeds from {first_seed}, {steps} steps in {took_s:.1f} s; "
            + (f"{len(broken)} broke an invariant." if broken else "all invariants held.")
        )
    context.exit(ExitCode.FAILED if broken else ExitCode.OK)


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if not as_json:
        _progress("")
        print(outcome.report(), flush=True)


def _progress(text: str) -> None:
    """One line that overwrites itself, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _summary(
    name: str, first_seed: int, done: int, steps: int, took_s: float, broken: list[Outcome]
) -> dict[str, Any]:
    return {
        "scenario": name,
        "first_seed": first_seed,
        "seeds": done,
        "steps": steps,
        "seconds": round(took_s, 3),
        "broken": [outcome.to_data() for outcome in broken],
    }
