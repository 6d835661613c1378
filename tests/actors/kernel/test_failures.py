"""Errors of handlers as plain data, whatever a handler raised."""

import asyncio
from typing import Any, cast

import msgpack
import pytest

from callboard.actors.kernel.actor import Actor, behaviour_of, handler
from callboard.actors.kernel.cell import Cell, Recipe
from callboard.actors.kernel.failures import (
    TRACEBACK_CHARS_MAX,
    cancelled_error,
    deciding_error,
    describe_exception,
    failure_of,
    handler_failed_error,
    missing_handler_error,
    start_failed_error,
    wrong_reply_error,
)
from callboard.actors.kernel.link.failures import actor_not_found
from callboard.actors.kernel.stash import Stashed
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import (
    MESSAGE_CHARS_MAX,
    ActorNotFound,
    ActorStartFailed,
    CallboardError,
    Cancelled,
    HandlerFailed,
    MailboxFull,
    UsageError,
    WrongReply,
    error_from_data,
)
from callboard.messages.jobs.retry import Retryability, RetryPolicy, retryability_of


class Answer(Contract, name="tests.failures.answer"):
    pass


class Question(Request[Answer], name="tests.failures.question"):
    pass


class Answerer(Actor):
    @handler
    async def answer(self, question: Question) -> Answer:
        return Answer()


class Mute(Actor):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("holds a function")
        self.function = lambda: None


def cell_of(actor: type[Actor]) -> Cell:
    return Cell(3, Recipe(actor, name="it"), behaviour_of(actor), cast("Any", None))


def raised(error: BaseException) -> BaseException:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def arrives(error: CallboardError) -> CallboardError:
    """The error after its way to another host."""
    return error_from_data(msgpack.unpackb(msgpack.packb(error.to_data())))


@pytest.mark.parametrize(
    ("error", "name", "text"),
    [
        (ValueError("bad"), "builtins.ValueError", "bad"),
        (Unprintable(), f"{__name__}.Unprintable", "(its text cannot be rendered: RuntimeError)"),
        (Unpicklable(), f"{__name__}.Unpicklable", "holds a function"),
        (ExceptionGroup("many", [ValueError("one")]), "builtins.ValueError", "one"),
        (KeyboardInterrupt(), "builtins.KeyboardInterrupt", ""),
        (OSError("no file \udcff"), "builtins.OSError", "no file"),
    ],
)
def test_failure_of_any_kind_crosses_hosts_with_type_text_and_traceback(
    error: BaseException, name: str, text: str
) -> None:
    failed = handler_failed_error(cell_of(Answerer), Question(), raised(error))
    back = arrives(failed)
    assert isinstance(back, HandlerFailed)
    assert back.remote_type == name
    assert text in back.details["remote_text"]
    assert text in back.message
    assert "in raised" in back.remote_traceback
    assert back.message.startswith("/it while it handled a tests.failures.question raised ")


def test_chained_failure_shows_its_cause() -> None:
    with pytest.raises(ValueError, match="second") as caught:
        raise ValueError("second") from raised(KeyError("first"))
    described = describe_exception(caught.value)
    assert "KeyError: 'first'" in described["remote_traceback"]
    assert described["remote_text"] == "second"


def test_enormous_failure_is_cut_and_both_ends_of_its_traceback_are_kept() -> None:
    error = raised(ValueError("x" * 1_000_000 + "the end"))
    failed = handler_failed_error(cell_of(Answerer), Question(), error)
    assert isinstance(failed, HandlerFailed)
    assert len(failed.message) == MESSAGE_CHARS_MAX
    assert len(failed.remote_traceback) <= TRACEBACK_CHARS_MAX + len("\n[...]\n")
    assert "in raised" in failed.remote_traceback
    assert failed.remote_traceback.rstrip().endswith("the end")


def test_cancelled_handler_gives_a_cancelled_error() -> None:
    error = cancelled_error(cell_of(Answerer), Question())
    assert isinstance(error, Cancelled)


REFUSED, FULL = UsageError("refused"), MailboxFull("full")
FAILED, EXIT, CANCELLED = ValueError("bad"), SystemExit(2), asyncio.CancelledError()


def group(*errors: BaseException) -> BaseException:
    return BaseExceptionGroup("many", errors)


@pytest.mark.parametrize(
    ("error", "decides"),
    [
        (FAILED, FAILED),
        (group(REFUSED), REFUSED),
        (group(group(group(REFUSED)), FULL), REFUSED),
        (group(FULL, REFUSED), FULL),
        (group(REFUSED, FAILED), FAILED),
        (group(REFUSED, group(EXIT), FAILED), EXIT),
        (group(CANCELLED, REFUSED), REFUSED),
        (group(CANCELLED), CANCELLED),
        (group(Stashed(), CANCELLED, REFUSED), REFUSED),
    ],
)
def test_a_group_means_what_its_gravest_leaf_means(
    error: BaseException, decides: BaseException
) -> None:
    assert deciding_error(error) is decides


def test_a_group_of_stashes_is_a_stash() -> None:
    assert isinstance(deciding_error(group(Stashed(), Stashed())), Stashed)


def test_a_group_of_any_depth_is_read() -> None:
    deep: BaseException = REFUSED
    for _ in range(400):
        deep = ExceptionGroup("deep", [cast("Exception", deep)])
    assert deciding_error(deep) is REFUSED
    assert describe_exception(deep)["remote_text"] == "refused"
    while isinstance(
        deep, ExceptionGroup
    ):  # Dropped level by level: the interpreter would recurse.
        deep = deep.exceptions[0]


class Evil(BaseException):
    """None of what describes it can be read."""

    def __str__(self) -> str:
        raise SystemExit(2)

    def __repr__(self) -> str:
        raise KeyboardInterrupt

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise SystemExit(2)


def test_an_error_that_cannot_be_read_is_named() -> None:
    described = describe_exception(raised(Evil()))
    assert described["remote_type"] == f"{__name__}.Evil"
    assert described["remote_text"] == "(its text cannot be rendered: SystemExit)"
    assert "in raised" in described["remote_traceback"]


class Unreadable(UsageError):
    """An error of Callboard that cannot travel."""

    def to_data(self) -> dict[str, Any]:
        raise SystemExit(2)


def test_only_a_readable_error_of_callboard_is_forwarded() -> None:
    assert failure_of(cell_of(Answerer), Question(), REFUSED) is REFUSED
    failed = failure_of(cell_of(Answerer), Question(), Unreadable("no"))
    assert isinstance(failed, HandlerFailed)
    assert failed.remote_type == f"{__name__}.Unreadable"


def test_the_leaves_of_a_group_decide_about_a_retry() -> None:
    def failure(error: BaseException) -> CallboardError:
        return failure_of(cell_of(Answerer), Question(), deciding_error(raised(error)))

    assert retryability_of(failure(group(TypeError("a defect")))) is Retryability.NEVER
    assert retryability_of(failure(group(FAILED))) is Retryability.ATTEMPT
    assert retryability_of(failure(group(REFUSED))) is Retryability.NEVER
    policy = RetryPolicy(retry_on=frozenset({"ValueError"}))
    assert policy.retries(failure(group(REFUSED, FAILED))) is Retryability.ATTEMPT


@pytest.mark.parametrize(
    ("actor", "handled"), [(Answerer, "tests.failures.question"), (Mute, "nothing")]
)
def test_missing_handler_names_the_handled_contracts(actor: type[Actor], handled: str) -> None:
    error = arrives(missing_handler_error(cell_of(actor), Answer()))
    assert isinstance(error, ActorNotFound)
    assert error.advice == f"It handles: {handled}."
    assert error.may_have_run is False


def test_missing_actor_is_named_by_its_address_and_never_ran() -> None:
    error = actor_not_found(4, 5)
    assert isinstance(error, ActorNotFound)
    assert "4/5" in error.message
    assert error.may_have_run is False


@pytest.mark.parametrize("result", [None, 1, Question(), Answer])
def test_wrong_reply_names_both_types(result: Any) -> None:
    row = behaviour_of(Answerer).handlers[Question]
    error = arrives(wrong_reply_error(cell_of(Answerer), row, result))
    assert isinstance(error, WrongReply)
    assert type(result).__qualname__ in error.message
    assert "tests.failures.answer" in error.message


def test_failed_start_has_the_traceback_and_never_ran() -> None:
    error = arrives(start_failed_error(cell_of(Answerer), raised(LookupError("no key"))))
    assert isinstance(error, ActorStartFailed)
    assert error.may_have_run is False
    assert "no key" in error.message
    assert "in raised" in error.details["remote_traceback"]
