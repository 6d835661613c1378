"""What was submitted under an execution id, and whether another submission asks for the same.

A caller may submit with an id that exists: a driver that runs again, or several drivers at once.
The same request gets the one execution of that id. Another request is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import ContractError, ExecutionIdTaken
from callboard.messages.core.names import shown

from .history.fold import ExecutionHistory
from .history.replay import Replay

__all__ = ["Submission", "check_same", "submission_in"]

DIFFERENCES_SHOWN: Final = 5
DEPTH_MAX: Final = 64
"""As deep as a message may nest; deeper attributes count as different."""


class Submission(NamedTuple):
    """The name of a job, with a request and attributes for it."""

    job: str
    request: Contract
    attributes: Mapping[str, Any]


def submission_in(history: ExecutionHistory, replay: Replay) -> Submission:
    """The submission of an execution in a journal. Raises `ExecutionIdTaken` if unreadable here."""
    try:
        return Submission(history.job, replay.request(), replay.attributes())
    except ContractError as error:
        raise _taken(history.id, [f"its request cannot be read here: {error.message}"]) from error


def check_same(execution_id: str, before: Submission, now: Submission) -> None:
    """Raise `ExecutionIdTaken`, which says the differences, unless both ask for the same."""
    found = []
    if before.job != now.job:
        found.append(_differs("the job", before.job, now.job))
    names = before.request.contract_name, now.request.contract_name
    if names[0] != names[1]:
        found.append(_differs("the request", *names))
    else:
        found += _differences("", _fields(before.request), _fields(now.request))
    found += _differences("attribute ", before.attributes, now.attributes)
    if found:
        raise _taken(execution_id, found)


def _taken(execution_id: str, differences: Sequence[str]) -> ExecutionIdTaken:
    listed = list(differences[:DIFFERENCES_SHOWN])
    left_off = len(differences) - len(listed)
    more = f", and {left_off} more" if left_off else ""
    return ExecutionIdTaken(
        f"another request was submitted as execution {execution_id!r}: {'; '.join(listed)}{more}.",
        advice="Give each request its own execution_id. The same request may be submitted again.",
        differences=listed,
    )


def _differs(what: str, before: object, now: object) -> str:
    return f"{what} is {shown(before)} there and {shown(now)} here"


def _differences(prefix: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    for name in dict.fromkeys((*before, *now)):
        if name not in now:
            yield f"{prefix}{name} is missing here"
        elif name not in before:
            yield f"{prefix}{name} is missing there"
        elif not _is_equal(before[name], now[name]):
            yield _differs(f"{prefix}{name}", before[name], now[name])


def _fields(message: Contract) -> Mapping[str, Any]:
    return {name: getattr(message, name) for name in type(message).model_fields}


def _is_equal(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether two values are equal as a message: a class may have been defined again."""
    if depth > DEPTH_MAX:
        return False
    if isinstance(one, Contract) and isinstance(other, Contract):
        same = one.contract_name == other.contract_name
        return same and _is_equal(_fields(one), _fields(other), depth + 1)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(
            _is_equal(value, other[key], depth + 1) for key, value in one.items()
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(
            _is_equal(value, another, depth + 1) for value, another in zip(one, other, strict=True)
        )
    if hasattr(one, "tobytes") and hasattr(other, "tobytes"):  # Arrays compare item by item.
        return _array(one) == _array(other)
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - not a number


def _array(value: Any) -> tuple[Any, ...]:
    return (str(value.dtype), value.shape, value.tobytes()) if hasattr(value, "dtype") else (value,)
