"""`callboard letters`: the dead letters of pipelines, in a store or behind a web server."""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from typing import Final

import click
from rich.table import Table
from rich.text import Text

from callboard.messages.core.errors import UsageError

from ..admin.pipeline_views import DiscardLetters, LetterView, QueryLetters, ReplayLetters
from .figures import age, counted, echo, paper, printable
from .pipelines import Answers, answering, named

__all__ = ["discard", "list_letters", "replay", "show_letter"]

PAGE: Final = 500
ORIGINAL_CHARACTERS: Final = 60
AT_ONCE: Final = 500
"""Letters of one transaction."""


def list_letters(
    *, words: Sequence[str], stage: str | None, after: int, limit: int, as_json: bool
) -> None:
    """Perform the command; `commands/` declares it."""
    with answering(words) as (answers, rest):
        name = named(rest, is_needed=False)
        if after and not name:
            raise UsageError("--after needs a pipeline.", advice="Numbers count in one pipeline.")
        found = list(itertools.islice(_some(answers, name, stage, after), limit))
    if as_json:
        data = [letter.model_dump(mode="json") for letter in found]
        click.echo(json.dumps({"letters": data}, indent=2))
        return
    if not found:
        click.echo("no dead letters.", err=True)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("pipeline", "number", "stage", "age", "place", "reason", "original"):
        table.add_column(title)
    for letter in found:
        table.add_row(
            Text(printable(letter.pipeline)),
            str(letter.number),
            Text(printable(letter.stage)),
            age(time.time() - letter.at),
            Text(printable(letter.place)),
            Text(printable(letter.reasons[0] if letter.reasons else "")),
            Text(_short(_original(letter))),
        )
    paper().print(table)
    if len(found) == limit:
        last = found[-1]
        echo(f"there may be more: {last.pipeline} --after {last.number}", err=True)


def _some(
    answers: Answers, pipeline: str, stage: str | None, after: int = 0
) -> Iterator[LetterView]:
    place = (pipeline, after)
    question = QueryLetters(pipeline=pipeline, stage=stage or "", limit=PAGE)
    while True:
        page = answers.ask(question.model_copy(update={"after": place}))
        yield from page.items
        if page.next is None:
            return
        place = page.next


def _original(letter: LetterView) -> str:
    if letter.is_cut:
        return "(large: `callboard letters show` has it)"
    original = letter.original
    return original if isinstance(original, str) else json.dumps(original, ensure_ascii=False)


def _short(text: str) -> str:
    one_line = printable(text.replace("\n", "⏎"))
    if len(one_line) <= ORIGINAL_CHARACTERS:
        return one_line
    return one_line[: ORIGINAL_CHARACTERS - 1] + "…"


def show_letter(*, words: Sequence[str], as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    with answering(words) as (answers, rest):
        name, numbers = _picked(rest)
        if len(numbers) != 1:
            raise UsageError("the command names no letter.", advice="Give its number at the end.")
        (letter,) = answers.ask(QueryLetters(pipeline=name, numbers=numbers)).items
    if as_json:
        click.echo(json.dumps(letter.model_dump(mode="json"), indent=2))
        return
    echo(f"dead letter {letter.number} of {name}, {age(time.time() - letter.at)} old")
    echo(f"  stage      {letter.stage}, version {letter.schema_version} of the pipeline")
    echo(f"  place      {letter.place}")
    echo(f"  attempt    {letter.attempt}")
    echo(f"  execution  {letter.execution}")
    for reason in letter.reasons:
        echo(f"  reason     {reason}")
    echo(f"  original   {_original(letter)}")


def _picked(words: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """The pipeline and the numbers of letters in the words. Raises `UsageError`."""
    name = named(words[:1])
    wrong = [word for word in words[1:] if not (word.isascii() and word.isdigit())]
    if wrong:
        raise UsageError(
            f"{wrong[0]!r} is no number of a letter.",
            advice="Without --url the store comes first, then the pipeline, then numbers.",
        )
    return name, tuple(sorted({int(word) for word in words[1:]}))


def replay(*, words: Sequence[str], every: bool, stage: str | None, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    name, done = _decide(ReplayLetters, words, stage, every=every)
    if as_json:
        click.echo(json.dumps({"pipeline": name, "replayed": done}))
    else:
        echo(f"{name} takes {counted(len(done), 'letter')} again, now or when it runs next.")


def discard(*, words: Sequence[str], every: bool, stage: str | None, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    name, done = _decide(DiscardLetters, words, stage, every=every)
    if as_json:
        click.echo(json.dumps({"pipeline": name, "discarded": done}))
    else:
        echo(f"{counted(len(done), 'letter')} of {name} discarded.")


def _decide(
    command: type[ReplayLetters | DiscardLetters],
    words: Sequence[str],
    stage: str | None,
    *,
    every: bool,
) -> tuple[str, list[int]]:
    with answering(words) as (answers, rest):
        name, numbers = _picked(rest)
        if bool(numbers) + every + (stage is not None) != 1:
            raise UsageError("name letters by their numbers, --stage or --all.", advice="Give one.")
        picked = list(numbers) or [each.number for each in _some(answers, name, stage)]
        for start in range(0, len(picked), AT_ONCE):
            at_once = tuple(picked[start : start + AT_ONCE])
            request: ReplayLetters | DiscardLetters = command(pipeline=name, numbers=at_once)
            answers.ask(request)
    return name, picked
