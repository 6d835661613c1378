"""Looks as questions and answers: whatever comes in, an answer goes out."""

import json
from typing import Any

import pytest

from callboard.messages.contract import Contract, Request
from callboard.messages.errors import CallboardError, UsageError
from callboard.messages.views import LookAtActor, LookAtSystem, Stories
from callboard.runtime.looking import answer_of, answered, question_of


class Change(Request[Contract], name="looking.change"):
    """No look."""


class Desk:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def __call__(self, request: Any, /) -> Any:
        self.asked.append(request)
        return Stories(system="s", near=("a", "b"))


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"\xff\xfe\n",
        b"[1, 2]\n",
        b"null\n",
        b"{}\n",
        b"[" * 100_000,
        b'{"look": "change"}\n',
        b'{"look": ["system"]}\n',
        b'{"look": "system", "arguments": 3}\n',
        b'{"look": "system", "arguments": [1]}\n',
        b'{"look": "system", "arguments": {"actors_max": "many"}}\n',
        b'{"look": "actor"}\n',
    ],
)
async def test_what_is_no_question_is_answered_with_an_error(question: bytes) -> None:
    desk = Desk()
    answer = await answer_of(question, desk)
    assert desk.asked == []
    with pytest.raises(UsageError) as error:
        answered(LookAtSystem(), answer)
    assert error.value.advice


async def test_a_look_comes_through_and_its_answer_back() -> None:
    desk, request = Desk(), LookAtActor(path="host-1/ä")
    assert answered(request, await answer_of(question_of(request), desk)) == Stories(
        system="s", near=("a", "b")
    )
    assert desk.asked == [request]


async def test_an_error_of_the_desk_is_raised_on_the_other_side() -> None:
    async def refuse(_: Any) -> Any:
        raise UsageError("not now.", advice="later")

    with pytest.raises(UsageError, match="not now"):
        answered(LookAtSystem(), await answer_of(question_of(LookAtSystem()), refuse))


@pytest.mark.parametrize("answer", [b"", b"[1, 2]\n", b"{}", b'{"answer": {"hosts": 3}}\n'])
def test_a_nonsense_answer_is_a_value_error(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r".*") as error:
        answered(LookAtSystem(), answer)
    assert not isinstance(error.value, CallboardError)


def test_what_changes_something_cannot_be_asked() -> None:
    with pytest.raises(UsageError):
        question_of(Change())
    assert json.loads(question_of(LookAtSystem(actors_max=3)))["look"] == "system"
