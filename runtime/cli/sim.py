"""`callboard sim`: many seeds of a scenario, and the story of each that breaks an invariant."""

import contextlib
import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from .outcome import ExitCode

if TYPE_CHECKING:
    from ..simulation.run import Outcome

__all__ = ["sim"]

PROGRESS_S: Final = 1.0
FAILURES_MAX: Final = 10
"""After so many failing seeds there is nothing more to learn from one run."""


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--scenario", "name", default="mixed", show_default=True, help="What is simulated.")
@click.option("--defect", metavar="NAME", help="Break the kernel on purpose, to see it found.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line at the end.")
@click.pass_context
def sim(
    context: click.Context,
    /,
    *,
    seeds: int,
    first_seed: int,
    name: str,
    defect: str | None,
    as_json: bool,
) -> None:
    """Run whole systems on a virtual clock, breaking what their seeds say.

    Hosts crash, hang and slow down, links lose, double, reorder and cut; after every step
    invariants are checked. The same seed is the same run, on every machine.

    \b
    Exit codes: 0 all invariants held, 1 a seed broke one, 2 wrong usage.
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    from ..simulation.mutations import MUTATIONS
    from ..simulation.run import run_seeds
    from ..simulation.scenarios import SCENARIOS

    scenario = SCENARIOS.get(name)
    if scenario is None:
        known = ", ".join(SCENARIOS)
        raise click.BadParameter(f"there is no scenario {name!r}; there are {known}.")
    mutation = None if defect is None else MUTATIONS.get(defect)
    if defect is not None and mutation is None:
        known = ", ".join(MUTATIONS)
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


def _show(outcome: "Outcome", *, as_json: bool) -> None:
    if not as_json:
        _progress("")
        print(outcome.told(), flush=True)


def _progress(text: str) -> None:
    """One line that is written over, and only where people look."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _summary(
    name: str, first_seed: int, done: int, steps: int, took_s: float, broken: "list[Outcome]"
) -> dict[str, Any]:
    return {
        "scenario": name,
        "first_seed": first_seed,
        "seeds": done,
        "steps": steps,
        "seconds": round(took_s, 3),
        "broken": [asdict(outcome) for outcome in broken],
    }
