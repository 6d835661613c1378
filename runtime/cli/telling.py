"""What an event of an execution says, in words and with the names of its sub-tasks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from callboard.actors.execution.history.events import Kind, Moved
from callboard.actors.execution.history.fold import ExecutionHistory

from .figures import age, counted, printable, short
from .lanes import place_of

__all__ = ["words_of"]

NAMES_MAX: Final = 6
"""Sub-tasks of one event that are named; the rest are counted."""


def words_of(kind: str, fields: Mapping[str, Any], history: ExecutionHistory) -> list[str]:
    """The lines of an event; `history` has it already. Raises what malformed fields raise."""
    return [printable(line) for line in _lines(kind, fields, history)]


def _lines(kind: str, fields: Mapping[str, Any], history: ExecutionHistory) -> Iterator[str]:
    ids = history.ids
    match kind:
        case Kind.SUBMITTED:
            yield f"job {fields['job']} submitted, owner {fields['by']}"
        case Kind.FORKED:
            shared = f"{fields['shared']:,} of {counted(fields['sub_tasks'], 'sub-task')}"
            yield f"a fork of {short(fields['of'])} from {fields['from']}: {shared} shared"
        case Kind.RESUMED:
            yield f"goes on, owner {fields['by']}"
        case Kind.ENTERED:
            yield ", ".join(name for name, _ in fields["phases"])
        case Kind.PLANNED:
            yield f"planned: {counted(fields['sub_tasks'], 'sub-task')}"
        case Kind.GROWN if fields["parent"] is not None:
            yield f"grew out of {ids[fields['parent']]}: {_named(row[0] for row in fields['rows'])}"
        case Kind.GROWN:
            yield f"to do: {_named(row[0] for row in fields['rows'])}"
        case Kind.BEGAN:
            yield f"begins, must not run twice: {_named(ids[index] for index, _ in fields['rows'])}"
        case Kind.DECIDED:
            yield f"decided: {ids[fields['index']]}: {fields['decision']}, by {fields['by']}"
        case Kind.STEPPED:
            yield f"{fields['from']} → {fields['to']}, by {fields['trigger']}"
            error = fields["metadata"].get("error")
            if isinstance(error, dict):
                yield str(error.get("message", ""))
        case Kind.MOVED:
            yield from _moves(Moved(**fields), ids)
        case _:
            yield kind  # The history has refused it before.


def _moves(moved: Moved, ids: Sequence[str]) -> Iterator[str]:
    lanes = [place_of(lane) for lane in moved.lanes]
    if moved.done:
        names = (f"{ids[row[0]]} ({age(row[4] / 1e6)}, {lanes[row[2]]})" for row in moved.done)
        yield f"done: {_named(names)}"
    for index, attempt, _, _, took, _, message, _ in moved.troubled[:NAMES_MAX]:
        yield f"runs again: {ids[index]}, attempt {attempt} failed in {age(took / 1e6)}: {message}"
    if len(moved.troubled) > NAMES_MAX:
        yield f"and {counted(len(moved.troubled) - NAMES_MAX, 'more attempt')} failed"
    for index, attempt, _, message, *_ in moved.doubtful[:NAMES_MAX]:
        yield f"in doubt: {ids[index]}, attempt {attempt} may have run: {message}"
    for index, error, *_ in moved.failed[:NAMES_MAX]:
        yield f"failed: {ids[index]}: {error.get('message', '')}"
    for word, numbers in (("cancelled", moved.cancelled), ("skipped", moved.skipped)):
        if numbers:
            yield f"{word}: {_named(ids[number] for number in numbers)}"


def _named(names: Iterable[str]) -> str:
    all_names = list(names)
    shown = ", ".join(all_names[:NAMES_MAX])
    hidden = len(all_names) - NAMES_MAX
    return f"{shown} and {hidden:,} more" if hidden > 0 else shown
