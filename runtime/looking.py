"""Looks at a running system as questions and answers of plain data, over whatever carries them.

A question names its look and the arguments of its request; an answer is the reply's fields,
or an error as data. Only what is in `LOOKS` can be asked: a look changes nothing, and the wishes
among them are granted by the driver that has the execution (see `wishes.py`).
"""

import json
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol, TypeVar

from pydantic import ValidationError

from callboard.messages.contract import Contract, Request
from callboard.messages.errors import CallboardError, UsageError, error_from_data
from callboard.messages.views import LookAtActor, LookAtSystem
from callboard.messages.wishes import (
    CancelExecution,
    DecideStep,
    ResumeExecution,
    WriteEvents,
)

__all__ = ["LOOKS", "Ask", "answer_of", "answered", "question_of"]

ReplyT = TypeVar("ReplyT")
LOOKS: Final[Mapping[str, type[Request[Any]]]] = {
    "system": LookAtSystem,
    "actor": LookAtActor,
    "cancel": CancelExecution,
    "decide": DecideStep,
    "resume": ResumeExecution,
    "write": WriteEvents,
}
"""The looks there are, by the name that a question has for them; behind the first two, wishes."""
QUESTION_ADVICE: Final = "Both sides must run the same release of Callboard."


class Ask(Protocol):
    """A way to a system's desk: gives the reply, or raises a `CallboardError`.

    Without an answer it raises `TimeoutError` or `OSError`, and never waits for ever.
    """

    def __call__(self, request: Request[ReplyT], /) -> Awaitable[ReplyT]:
        """Ask."""


def question_of(request: Request[Any]) -> bytes:
    """A look as one line."""
    for name, look in LOOKS.items():
        if type(request) is look:
            question = {"look": name, "arguments": request.model_dump(mode="json")}
            return json.dumps(question).encode() + b"\n"
    raise UsageError(f"{type(request).__name__} is no look.", advice=f"Looks: {', '.join(LOOKS)}.")


async def answer_of(line: bytes, ask: Ask) -> bytes:
    """The answer to a question, as one line; whatever is wrong is an answer too."""
    try:
        reply: Contract = await ask(_request_in(line))
        answer: dict[str, Any] = {"answer": reply.model_dump(mode="json")}
    except CallboardError as error:
        answer = {"error": error.to_data()}
    return json.dumps(answer).encode() + b"\n"


def _request_in(line: bytes) -> Request[Any]:
    try:
        question = json.loads(line)
        look = LOOKS.get(str(question["look"]))
        arguments = dict(question.get("arguments") or {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(f"this is no question: {error!r}.", advice=QUESTION_ADVICE) from None
    if look is None:
        raise UsageError(
            f"there is no look {str(question['look'])[:100]!r}.",
            advice=f"Looks are: {', '.join(LOOKS)}. {QUESTION_ADVICE}",
        )
    try:
        return look.model_validate(arguments)
    except (ValidationError, CallboardError) as error:
        raise UsageError(
            f"the arguments of the question do not fit: {error}", advice=QUESTION_ADVICE
        ) from None


def answered(request: Request[ReplyT], line: bytes) -> ReplyT:
    """The reply in an answer. Raises the error that it tells, and `ValueError` for nonsense."""
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise ValueError("it answers nonsense")  # noqa: TRY004 - bytes from outside, no type of ours
    error = answer.get("error")
    if isinstance(error, dict):
        raise error_from_data(error)
    contract: Any = getattr(type(request), "reply_contract", None)
    # As JSON again, because only there a list may stand for a tuple.
    reply: ReplyT = contract.model_validate_json(json.dumps(answer.get("answer")))
    return reply
