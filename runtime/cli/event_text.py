"""The events of an execution in words, with the names of its sub-tasks."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from callboard.actors.executions.history.events import (
    Began,
    Decided,
    Entered,
    Event,
    Forked,
    Grown,
    Moved,
    Planned,
    Resumed,
    Stepped,
    Streamed,
    Submitted,
)
from callboard.actors.executions.history.fold import ExecutionHistory

from .attempt_rows import place_of
from .figures import age, counted, printable, short

__all__ = ["words_of"]

NAMES_MAX: Final = 6
"""Sub-tasks of one event that are named. The others are counted."""


def words_of(event: Event, history: ExecutionHistory) -> list[str]:
    """The lines of an event that `history` has applied. Raises what malformed rows raise."""
    return [printable(line) for line in _lines(event, history)]


def _lines(event: Event, history: ExecutionHistory) -> Iterator[str]:
    ids = history.ids
    match event:
        case Submitted():
            yield f"job {event.job} submitted, owner {event.by}"
        case Forked():
            shared = f"{event.shared:,} of {counted(event.sub_tasks, 'sub-task')}"
            yield f"a fork of {short(event.of_id)} from {event.step}: {shared} shared"
        case Resumed():
            yield f"resumed, owner {event.by}"
        case Entered():
            yield ", ".join(phase.name for phase in event.phases)
        case Planned():
            yield f"planned: {counted(event.sub_tasks, 'sub-task')}"
        case Grown():
            grew = "to do" if event.parent is None else f"added by {ids[event.parent]}"
            yield f"{grew}: {_named(event.ids())}"
        case Began():
            names = _named(ids[index] for index, _ in event.attempts)
            yield f"begins, must not run twice: {names}"
        case Decided():
            why = f": {event.reason}" if event.reason else ""
            yield f"decided: {ids[event.index]}: {event.decision}, by {event.by}{why}"
        case Stepped():
            yield f"{event.from_status} → {event.to}, by {event.trigger}"
            error = event.metadata.get("error")
            if isinstance(error, dict):
                yield str(error.get("message", ""))
        case Streamed():
            for task, attempt, number, value in event.partials:
                yield f"partial {number} of {ids[task]}, attempt {attempt}: {value.contract.name}"
        case Moved():
            yield from _moves(event, ids)
        case _:
            yield event.kind


def _moves(moved: Moved, ids: Sequence[str]) -> Iterator[str]:
    if moved.done_count:
        names = (
            f"{ids[one.task]} ({age(one.took_s)}, {place_of(one.executor)})" for one in moved.done()
        )
        yield f"done: {_named(names)}"
    troubled = list(moved.troubled())
    for index, attempt, span, _, message, _ in troubled[:NAMES_MAX]:
        yield f"runs again: {ids[index]}, attempt {attempt} failed in {age(span.took_s)}: {message}"
    if len(troubled) > NAMES_MAX:
        yield f"and {counted(len(troubled) - NAMES_MAX, 'more attempt')} failed"
    for index, attempt, _, message, _ in islice(moved.doubtful(), NAMES_MAX):
        yield f"in doubt: {ids[index]}, attempt {attempt} may have run: {message}"
    for index, error, *_ in islice(moved.failed(), NAMES_MAX):
        yield f"failed: {ids[index]}: {error.get('message', '')}"
    for word, numbers in (("cancelled", moved.cancelled), ("skipped", moved.skipped)):
        if numbers:
            yield f"{word}: {_named(ids[number] for number in numbers)}"


def _named(names: Iterable[str]) -> str:
    all_names = list(names)
    shown = ", ".join(all_names[:NAMES_MAX])
    hidden = len(all_names) - NAMES_MAX
    return f"{shown} and {hidden:,} more" if hidden > 0 else shown
