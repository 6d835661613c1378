"""Errors: picklable, plain data on the wire, and robust against any details."""

import copy
import pickle
import traceback
from typing import Any, Final

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard import Actor, Request, handler
from callboard.messages.core import errors
from callboard.messages.core.errors import (
    MESSAGE_CHARS_MAX,
    REMOTE_CHARS_MAX,
    ActorNotFound,
    AskError,
    CallboardError,
    HandlerFailed,
    error_from_data,
)
from callboard.runtime.api.start import start

CLASSES: Final = [
    cls
    for name in errors.__all__
    if isinstance(cls := getattr(errors, name), type) and issubclass(cls, CallboardError)
]


def parts_of(error: CallboardError) -> tuple[Any, ...]:
    return (type(error), error.message, error.advice, dict(error.details), str(error), error.args)


def an_error(cls: type[CallboardError]) -> CallboardError:
    return cls("what failed.", advice="do this.", may_have_run=False, size_bytes=3, names=["a"])


def test_every_class_has_a_code_of_its_own() -> None:
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(CLASSES) > 25


@pytest.mark.parametrize("cls", CLASSES)
def test_error_survives_pickle_and_copy(cls: type[CallboardError]) -> None:
    error = an_error(cls)
    assert parts_of(pickle.loads(pickle.dumps(error))) == parts_of(error)
    assert parts_of(copy.copy(error)) == parts_of(error)


@pytest.mark.parametrize("cls", CLASSES)
def test_error_survives_its_way_as_data(cls: type[CallboardError]) -> None:
    error = an_error(cls)
    data = msgpack.unpackb(msgpack.packb(error.to_data()))
    assert parts_of(error_from_data(data)) == parts_of(error)


@pytest.mark.parametrize("cls", CLASSES)
def test_error_is_raised_and_caught_by_the_one_base(cls: type[CallboardError]) -> None:
    with pytest.raises(CallboardError, match=r"what failed\. do this\."):
        raise an_error(cls)


def test_text_without_advice_is_the_message() -> None:
    assert str(CallboardError("only this.")) == "only this."


def test_subclass_without_a_code_comes_back_as_what_it_extends() -> None:
    class Own(ActorNotFound):
        pass

    class Deeper(Own):
        pass

    for cls in (Own, Deeper):
        back = error_from_data(cls("gone.", may_have_run=False).to_data())
        assert type(back) is ActorNotFound
        assert back.may_have_run is False


def test_subclass_with_a_code_and_another_constructor_comes_back_as_itself() -> None:
    class QuotaSpent(AskError):
        code = "tests.quota_spent"

        def __init__(self, user: str, left: int) -> None:
            super().__init__(f"{user} has {left} left.", user=user, left=left)

    error = QuotaSpent("ada", 3)
    for back in (error_from_data(error.to_data()), pickle.loads(pickle.dumps(error))):
        assert parts_of(back) == parts_of(error)


def test_unknown_code_comes_back_as_the_base() -> None:
    back = error_from_data({"code": "from.the.future", "message": "m", "details": {"a": 1}})
    assert parts_of(back) == (CallboardError, "m", "", {"a": 1}, "m", ("m",))


def test_long_message_is_cut() -> None:
    error = CallboardError("x" * (MESSAGE_CHARS_MAX + 1))
    assert len(error.message) == len(error.args[0]) == MESSAGE_CHARS_MAX
    back = error_from_data({"code": "ask", "message": "x" * 100_000})
    assert len(back.message) == MESSAGE_CHARS_MAX


def test_may_have_run_is_true_by_default() -> None:
    assert AskError("m").may_have_run is True
    assert AskError("m", may_have_run=False).may_have_run is False


def test_handler_failure_tells_remote_type_and_traceback() -> None:
    error = HandlerFailed("m", remote_type="a.B", remote_traceback="Traceback")
    assert (error.remote_type, error.remote_traceback) == ("a.B", "Traceback")
    assert (HandlerFailed("m").remote_type, HandlerFailed("m").remote_traceback) == ("", "")


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError


def endless() -> list[Any]:
    inside: list[Any] = []
    inside.append(inside)
    return inside


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (2**64, str(2**64)),
        ((1, (2,)), [1, [2]]),
        ({1: {"b"}}, {"1": ["b"]}),
        (b"bytes", "b'bytes'"),
        (ValueError("v"), "ValueError('v')"),
        ("\udcff", "\\udcff"),
        (Unprintable(), "a Unprintable (RuntimeError in its repr)"),
    ],
)
def test_detail_of_any_kind_becomes_plain_data(value: Any, plain: Any) -> None:
    data = CallboardError("m", detail=value).to_data()
    assert data["details"] == {"detail": plain}
    assert msgpack.unpackb(msgpack.packb(data)) == data
    assert pickle.loads(pickle.dumps(CallboardError("m", detail=value))).details["detail"] == plain


def test_detail_that_holds_itself_ends() -> None:
    msgpack.packb(CallboardError("m", detail=endless()).to_data())


def test_text_that_is_not_utf_8_is_carried_escaped() -> None:
    error = CallboardError("no file \udcff", advice="\ud800", **{"\udcfe": "x"})
    data = msgpack.unpackb(msgpack.packb(error.to_data()))
    assert data == {
        "code": "callboard",
        "message": "no file \\udcff",
        "advice": "\\ud800",
        "details": {"\\udcfe": "x"},
    }


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(data=JSON, code=st.sampled_from([cls.code for cls in CLASSES]))
def test_data_of_any_shape_becomes_an_error(data: Any, code: str) -> None:
    for shaped in (
        data,
        {"code": code, "message": data, "advice": data, "details": data},
        {"code": data, "details": {"message": data, "advice": data, "self": data}},
    ):
        error = error_from_data(shaped)
        assert isinstance(error, CallboardError)
        assert str(error) is not None
        pickle.dumps(error)


def test_message_advice_and_details_are_cut_and_can_be_encoded() -> None:
    long = "a" * 1_000_000
    error = CallboardError(long, advice=long, text=long, inner={"text": [long]})
    assert (len(error.message), len(error.advice)) == (MESSAGE_CHARS_MAX, MESSAGE_CHARS_MAX)
    data = error.to_data()
    assert len(msgpack.packb(data)) < 60_000
    assert error_from_data({**data, "advice": long}).advice == error.advice
    odd = CallboardError("x\ud800", advice="y\ud800")
    assert (odd.message, odd.advice) == ("x\\ud800", "y\\ud800")
    assert str(odd).encode()


@pytest.mark.parametrize("again", [lambda e: e, lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_uncaught_error_prints_the_remote_traceback_once(again: Any) -> None:
    error = HandlerFailed("m", remote_type="a.B", remote_traceback="Traceback: over there\n")
    there = error_from_data(again(error_from_data(error.to_data())).to_data())
    printed = "".join(traceback.format_exception(there))
    assert printed.count("over there") == 1
    assert printed.rstrip().endswith("Where it was raised:\nTraceback: over there")


def test_printed_remote_traceback_is_bounded_and_may_be_anything() -> None:
    for remote, chars in (("x" * 10**6, REMOTE_CHARS_MAX), ("", 0), (None, 0), (7, 0)):
        error = error_from_data({"code": "ask", "details": {"remote_traceback": remote}})
        assert "".join(traceback.format_exception(error)).count("x") <= chars + 100


async def test_error_of_a_handler_that_nobody_catches_shows_the_line_that_raised() -> None:
    class Ask(Request[None], name="errors.ask"):
        pass

    class Broken(Actor):
        @handler
        async def answer(self, request: Ask) -> None:
            raise ValueError("the cause")

    Broken.answer.__annotations__["request"] = Ask
    async with start(engine="inline", hosts=1) as system:
        broken = await system.spawn(Broken)
        with pytest.raises(HandlerFailed) as caught:
            await broken.ask(Ask())
    printed = "".join(traceback.format_exception(caught.value))
    assert printed.count('raise ValueError("the cause")') == 1
