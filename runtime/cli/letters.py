"""`callboard letters`: the dead letters of pipelines, in the store of the pipeline."""

import json
import time
from collections.abc import Sequence
from typing import Any, Final

import click
from rich.table import Table
from rich.text import Text

from callboard.actors.pipelines.letters import DeadRow
from callboard.actors.pipelines.running.stored import PipelineStore
from callboard.messages.core.errors import UsageError

from .figures import age, counted, echo, paper, printable
from .pipelines import chosen, opened

__all__ = ["discard", "list_letters", "replay", "show_letter"]

PAGE: Final = 1_000
ORIGINAL_CHARACTERS: Final = 60
AT_ONCE: Final = 500
"""Letters of one transaction."""


def list_letters(
    *, url: str, name: str | None, stage: str | None, after: int, limit: int, as_json: bool
) -> None:
    """Perform the command; `commands/` declares it."""
    found: list[tuple[str, int, DeadRow]] = []
    with opened(url) as store:
        for pipeline in chosen(store, name):
            found += [
                (pipeline.name, number, letter)
                for number, letter in _some(pipeline, stage, after, limit - len(found))
            ]
    if as_json:
        data = [
            {"pipeline": pipeline, "number": number, **letter.to_data()}
            for pipeline, number, letter in found
        ]
        click.echo(json.dumps({"letters": data}, indent=2))
        return
    if not found:
        click.echo("no dead letters.", err=True)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("pipeline", "number", "stage", "age", "place", "reason", "original"):
        table.add_column(title)
    for name_of, number, letter in found:
        table.add_row(
            Text(printable(name_of)),
            str(number),
            Text(printable(letter.stage)),
            age(time.time() - letter.at),
            Text(printable(f"{letter.source}:{letter.position}")),
            Text(printable(letter.reasons[0] if letter.reasons else "")),
            Text(_short(_original(letter))),
        )
    paper().print(table)
    if len(found) == limit:
        click.echo(f"there may be more: --after {found[-1][1]}", err=True)


def _some(
    pipeline: PipelineStore, stage: str | None, after: int, limit: int
) -> list[tuple[int, DeadRow]]:
    found: list[tuple[int, DeadRow]] = []
    while len(found) < limit:
        page = pipeline.letters(after, PAGE)
        if not page:
            break
        found += [each for each in page if stage is None or each[1].stage == stage]
        after = page[-1][0]
    return found[: max(0, limit)]


def _original(letter: DeadRow) -> str:
    original: Any = letter.to_data()["original"]
    return original if isinstance(original, str) else json.dumps(original, ensure_ascii=False)


def _short(text: str) -> str:
    one_line = printable(text.replace("\n", "⏎"))
    if len(one_line) <= ORIGINAL_CHARACTERS:
        return one_line
    return one_line[: ORIGINAL_CHARACTERS - 1] + "…"


def show_letter(*, url: str, name: str, number: int, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    with opened(url) as store:
        (pipeline,) = chosen(store, name)
        ((_, letter),) = pipeline.letters_of([number])
    if as_json:
        click.echo(json.dumps({"pipeline": name, "number": number, **letter.to_data()}, indent=2))
        return
    echo(f"dead letter {number} of {name}, {age(time.time() - letter.at)} old")
    echo(f"  stage      {letter.stage}, version {letter.schema_version} of the pipeline")
    echo(f"  place      {letter.source}:{letter.position}")
    echo(f"  attempt    {letter.attempt}")
    echo(f"  execution  {letter.execution}")
    for reason in letter.reasons:
        echo(f"  reason     {reason}")
    echo(f"  original   {_original(letter)}")


def replay(
    *,
    url: str,
    name: str,
    numbers: Sequence[int],
    every: bool,
    stage: str | None,
    as_json: bool,
) -> None:
    """Perform the command; `commands/` declares it."""
    done = _decide("replay", url, name, numbers, stage, every=every)
    if as_json:
        click.echo(json.dumps({"pipeline": name, "replayed": done}))
    else:
        echo(f"{name} takes {counted(len(done), 'letter')} again, now or when it runs next.")


def discard(
    *,
    url: str,
    name: str,
    numbers: Sequence[int],
    every: bool,
    stage: str | None,
    as_json: bool,
) -> None:
    """Perform the command; `commands/` declares it."""
    done = _decide("discard", url, name, numbers, stage, every=every)
    if as_json:
        click.echo(json.dumps({"pipeline": name, "discarded": done}))
    else:
        echo(f"{counted(len(done), 'letter')} of {name} discarded.")


def _decide(
    what: str, url: str, name: str, numbers: Sequence[int], stage: str | None, *, every: bool
) -> list[int]:
    if bool(numbers) + every + (stage is not None) != 1:
        raise UsageError("name letters by their numbers, --stage or --all.", advice="Give one.")
    with opened(url) as store:
        (pipeline,) = chosen(store, name)
        picked = sorted(set(numbers))
        if not picked:
            picked = [number for number, _ in _some(pipeline, stage, 0, 10**9)]
        perform = pipeline.replay if what == "replay" else pipeline.discard
        for start in range(0, len(picked), AT_ONCE):
            perform(picked[start : start + AT_ONCE])
    return picked
