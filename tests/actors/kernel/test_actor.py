"""From a class to its dispatch table: handlers, replies, policy, and refused mistakes."""

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel import actor as actor_module
from callboard.actors.kernel.actor import (
    Actor,
    Agent,
    Behaviour,
    OnError,
    Overflow,
    behaviour_of,
    handler,
)
from callboard.actors.kernel.context import Context
from callboard.messages.core.contract import Contract, Request, contract_key
from callboard.messages.core.errors import SpecError


class Findings(Contract, name="tests.actor.findings"):
    count: int = 0


class Precise(Findings, name="tests.actor.precise"):
    pass


class ReviewFile(Request[Findings], name="tests.actor.review"):
    path: str = ""


class ReviewDeep(ReviewFile, name="tests.actor.review_deep"):
    pass


class Note(Contract, name="tests.actor.note"):
    pass


class Touch(Request[None], name="tests.actor.touch"):
    pass


def rows(behaviour: Behaviour) -> dict[str, str]:
    return {contract_key(row.contract).name: row.name for row in behaviour.handlers.values()}


# --- the table -----------------------------------------------------------------------------------


class Reviewer(Actor):
    @handler
    async def review(self, request: ReviewFile) -> Findings:
        return Findings()

    @handler
    async def note(self, message: Note, ctx: Context) -> None: ...

    @handler
    def touch(self, request: Touch) -> None: ...

    def not_a_handler(self, request: ReviewFile) -> str:
        return "not marked"


def test_each_marked_method_is_a_row_by_the_contract_of_its_first_parameter() -> None:
    assert rows(behaviour_of(Reviewer)) == {
        "tests.actor.review": "review",
        "tests.actor.note": "note",
        "tests.actor.touch": "touch",
    }


@pytest.mark.parametrize(
    ("contract", "is_async", "wants_context", "is_plain", "reply"),
    [
        (ReviewFile, True, False, True, Findings),
        (Note, True, True, False, None),
        (Touch, False, False, False, None),
    ],
)
def test_row_has_the_call_and_the_reply_type_of_its_handler(
    contract: type[Contract],
    is_async: bool,
    wants_context: bool,
    is_plain: bool,
    reply: type[Contract] | None,
) -> None:
    row = behaviour_of(Reviewer).handlers[contract]
    assert (row.is_async, row.wants_context, row.is_plain) == (is_async, wants_context, is_plain)
    assert row.reply is reply
    assert row.contract is contract


def test_table_is_read_once_per_class() -> None:
    assert behaviour_of(Reviewer) is behaviour_of(Reviewer)


def test_subclass_has_a_table_of_its_own() -> None:
    class More(Reviewer):
        mailbox_messages: ClassVar[int] = 7

    behaviour_of(Reviewer)
    assert behaviour_of(More).actor is More
    assert behaviour_of(More).mailbox_messages == 7
    assert rows(behaviour_of(More)) == rows(behaviour_of(Reviewer))


def test_actor_without_handlers_has_an_empty_table() -> None:
    class Silent(Actor):
        pass

    assert behaviour_of(Silent).handlers == {}


def test_override_without_the_decorator_is_still_the_handler() -> None:
    class Sharper(Reviewer):
        async def review(self, request: ReviewFile) -> Findings:
            return Findings(count=9)

    function = behaviour_of(Sharper).handlers[ReviewFile].function
    assert asyncio.run(function(Sharper(), ReviewFile())) == Findings(count=9)


def test_override_may_become_synchronous_and_want_the_context() -> None:
    class Threaded(Reviewer):
        def review(self, request: ReviewFile, ctx: Context) -> Findings:  # type: ignore[override]
            return Findings()

    row = behaviour_of(Threaded).handlers[ReviewFile]
    assert (row.is_async, row.wants_context) == (False, True)


def test_handlers_of_a_mixin_belong_to_the_actor() -> None:
    class Noting:
        @handler
        async def take_note(self, message: Note) -> None: ...

    class Mixed(Noting, Actor):
        pass

    assert rows(behaviour_of(Mixed)) == {"tests.actor.note": "take_note"}


def test_string_annotations_are_resolved_in_their_module() -> None:
    class Quoted(Actor):
        @handler
        async def review(self, request: "ReviewFile", ctx: "Context") -> "Findings":
            return Findings()

    assert behaviour_of(Quoted).handlers[ReviewFile].wants_context


POSTPONED = """
from __future__ import annotations
from typing import TYPE_CHECKING
from callboard.actors.kernel.actor import Actor, handler
from callboard.messages.core.contract import Contract, Request, contract_key
if TYPE_CHECKING:
    from callboard.actors.kernel.context import Context

class Answer(Contract, name="tests.postponed.answer"):
    x: int

class Question(Request[Answer], name="tests.postponed.question"):
    x: int

class Postponed(Actor):
    @handler
    async def answer(self, question: Question, ctx: Context) -> Answer:
        return Answer(x=question.x)

    @handler
    def note(self, note: Answer) -> None: ...
"""


def test_postponed_annotations_need_no_import_of_the_context() -> None:
    module: dict[str, Any] = {"__name__": "tests.postponed"}
    exec(compile(POSTPONED, "postponed.py", "exec"), module)
    row = behaviour_of(module["Postponed"]).handlers[module["Question"]]
    assert (row.wants_context, row.reply) == (True, module["Answer"])


def test_decorated_handler_keeps_its_annotations_through_wraps() -> None:
    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper

    class Traced(Actor):
        @handler
        @traced
        async def review(self, request: ReviewFile) -> Findings:
            return Findings()

    row = behaviour_of(Traced).handlers[ReviewFile]
    assert (row.is_async, row.wants_context) == (True, False)


# --- finding by base -----------------------------------------------------------------------------


def test_contract_without_a_row_is_handled_by_its_nearest_base() -> None:
    class Both(Reviewer):
        @handler
        async def any_contract(self, message: Contract) -> None: ...

    behaviour = Behaviour(Both)
    found = behaviour.find(ReviewDeep)
    assert found is not None
    assert found.name == "review"
    assert behaviour.handlers[ReviewDeep] is found, "looked up once"
    other = behaviour.find(Findings)
    assert other is not None
    assert other.name == "any_contract"


def test_contract_without_a_row_for_any_base_is_not_found() -> None:
    assert Behaviour(Reviewer).find(Findings) is None


# --- replies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contract", "result", "accepted"),
    [
        (ReviewFile, Findings(), True),
        (ReviewFile, Precise(), True),
        (ReviewFile, None, False),
        (ReviewFile, Note(), False),
        (ReviewFile, {"count": 1}, False),
        (Touch, None, True),
        (Touch, Findings(), False),
        (Note, None, True),
        (Note, 1, False),
    ],
)
def test_row_accepts_the_reply_type_and_its_subclasses(
    contract: type[Contract], result: Any, accepted: bool
) -> None:
    assert behaviour_of(Reviewer).handlers[contract].accepts(result) is accepted


def test_handler_may_name_a_narrower_reply_or_none() -> None:
    class Narrow(Actor):
        @handler
        async def review(self, request: ReviewFile) -> Precise:
            return Precise()

        @handler
        async def touch(self, request: Touch):  # type: ignore[no-untyped-def]  # noqa: ANN202
            pass

        @handler
        async def note(self, message: Note) -> Any: ...

    assert behaviour_of(Narrow).handlers[ReviewFile].reply is Findings


# --- mistakes ------------------------------------------------------------------------------------


class Unannotated(Actor):
    @handler
    async def run(self, request): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201


class AnnotatedNone(Actor):
    @handler
    async def run(self, request: None) -> None: ...


class Yields(Actor):
    @handler
    def run(self, message: Note) -> Any:
        yield


class YieldsAsync(Actor):
    @handler
    async def run(self, message: Note) -> Any:
        yield


class YieldsNoReply(Actor):
    @handler
    async def run(self, request: ReviewFile) -> AsyncIterator[Note]:
        yield Note()


class YieldsText(Actor):
    @handler
    async def run(self, request: ReviewFile) -> AsyncIterator[str | Findings]:
        yield ""


class YieldsAlone(Actor):
    @handler
    async def run(self, request: ReviewFile) -> Findings:  # type: ignore[misc] # on purpose
        yield Findings()


class Streams(Actor):
    @handler
    async def review(self, request: ReviewFile) -> AsyncIterator[Note | Precise]:
        yield Note()

    @handler
    async def touch(self, request: Touch, ctx: Context) -> AsyncGenerator[Note, None]:
        yield Note()


def test_a_handler_that_yields_streams_its_results() -> None:
    table = behaviour_of(Streams).handlers
    assert [table[contract].streams for contract in (ReviewFile, Touch)] == [True, True]
    assert not any(row.is_async or row.is_plain for row in table.values())
    assert not any(row.streams for row in behaviour_of(Reviewer).handlers.values())


def hiding(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator whose wrapper hides that it gives a coroutine."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


class Hidden(Actor):
    @handler
    @hiding
    async def run(self, message: Note) -> None: ...


class HiddenTwice(Actor):
    @hiding
    @hiding
    @handler
    async def run(self, message: Note) -> None: ...


class HiddenStream(Actor):
    @handler
    @hiding
    async def run(self, message: Note) -> Any:
        yield


class Answers:
    """A callable that is no function."""

    def __call__(self, actor: Actor, message: Note) -> None: ...


def answer(actor: Actor, message: Note) -> None: ...


class APartial(Actor):
    run = functools.partial(handler(answer))


class APartialMethod(Actor):
    run = functools.partialmethod(handler(answer))


class ACallable(Actor):
    run = handler(Answers())


class AStaticMethod(Actor):
    @staticmethod
    @handler
    def run(message: Note) -> None: ...


class StaticOverride(Reviewer):
    @staticmethod
    async def review(request: ReviewFile) -> Findings:
        return Findings()


class NoContract(Actor):
    @handler
    async def run(self, request: int) -> None: ...


class AUnion(Actor):
    @handler
    async def run(self, request: ReviewFile | Touch) -> None: ...


class NoParameter(Actor):
    @handler
    async def run(self) -> None: ...


class ThreeParameters(Actor):
    @handler
    async def run(self, request: Touch, ctx: Context, more: int) -> None: ...


class WrongReply(Actor):
    @handler
    async def run(self, request: ReviewFile) -> Note:
        return Note()


class WiderReply(Actor):
    @handler
    async def run(self, request: ReviewFile) -> Contract:
        return Note()


class NoneForAReply(Actor):
    @handler
    async def run(self, request: ReviewFile) -> None: ...


class OptionalReply(Actor):
    @handler
    async def run(self, request: ReviewFile) -> Findings | None: ...


class ReplyForNone(Actor):
    @handler
    async def run(self, request: Touch) -> Findings:
        return Findings()


class ReplyToATell(Actor):
    @handler
    async def run(self, message: Note) -> Findings:
        return Findings()


class HookAsHandler(Actor):
    @handler
    async def started(self, ctx: Note) -> None: ...  # type: ignore[override]


class Twice(Actor):
    @handler
    async def run(self, message: Note) -> None: ...

    @handler
    def again(self, message: Note) -> None: ...


class Unresolved(Actor):
    @handler
    async def run(self, message: "DefinedNowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("actor", "problem"),
    [
        (Unannotated, r"Unannotated\.run: parameter 'request' has no annotation"),
        (AnnotatedNone, r"AnnotatedNone\.run: parameter 'request' is annotated .*NoneType"),
        (Yields, r"Yields\.run yields"),
        (YieldsAsync, r"YieldsAsync\.run yields, but .* is not a Request"),
        (YieldsNoReply, r"YieldsNoReply\.run never yields the reply"),
        (YieldsText, r"YieldsText\.run yields .*str.*, which is no contract"),
        (YieldsAlone, r"YieldsAlone\.run yields, but it is annotated"),
        (Hidden, r"Hidden\.run is an `async def` inside a decorator that is a `def`"),
        (HiddenTwice, r"HiddenTwice\.run is an `async def` inside a decorator"),
        (HiddenStream, r"HiddenStream\.run is an `async def` inside a decorator"),
        (APartial, r"APartial\.run is a partial, not a method"),
        (APartialMethod, r"APartialMethod\.run is a partialmethod, not a method"),
        (ACallable, r"ACallable\.run is a Answers, not a method"),
        (AStaticMethod, r"AStaticMethod\.run is a staticmethod, not a method"),
        (StaticOverride, r"StaticOverride\.review is a staticmethod, not a method"),
        (NoContract, r"NoContract\.run: parameter 'request' is annotated <class 'int'>"),
        (AUnion, r"AUnion\.run: parameter 'request'"),
        (NoParameter, r"NoParameter\.run has the signature"),
        (ThreeParameters, r"ThreeParameters\.run has the signature"),
        (WrongReply, r"returns tests\.actor\.note.* answered by tests\.actor\.findings"),
        (WiderReply, r"returns callboard\.Contract.* answered by tests\.actor\.findings"),
        (NoneForAReply, r"returns None.* answered by tests\.actor\.findings"),
        (OptionalReply, r"OptionalReply\.run returns .*Findings"),
        (ReplyForNone, r"returns tests\.actor\.findings.* answered by None"),
        (ReplyToATell, r"tests\.actor\.note is not a Request"),
        (Twice, r"again and run both handle tests\.actor\.note"),
        (HookAsHandler, r"HookAsHandler\.started is marked as a handler, but it is a hook"),
        (Unresolved, r"Unresolved\.run: its annotations do not resolve: .*DefinedNowhere"),
    ],
)
def test_wrong_handler_is_a_spec_error_that_names_it(actor: type[Actor], problem: str) -> None:
    for _ in range(2):
        with pytest.raises(SpecError, match=problem) as caught:
            behaviour_of(actor)
        assert caught.value.advice


def test_what_cannot_be_marked_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match="cannot be a handler"):
        handler(len)


def test_subclass_may_remove_a_handler() -> None:
    class Quiet(Reviewer):
        touch = None  # type: ignore[assignment] # it has no such handler

    assert "tests.actor.touch" not in rows(behaviour_of(Quiet))


def test_plain_decorator_around_a_plain_handler_is_one() -> None:
    class Timed(Actor):
        @handler
        @hiding
        def touch(self, request: Touch) -> None: ...

    assert rows(behaviour_of(Timed)) == {"tests.actor.touch": "touch"}


def test_tables_of_few_classes_are_kept() -> None:
    kept = behaviour_of(Reviewer)
    for number in range(actor_module.BEHAVIOURS_MAX + 1):
        behaviour_of(type(f"Made{number}", (Actor,), {}))
    assert len(actor_module._BEHAVIOURS) <= actor_module.BEHAVIOURS_MAX
    assert rows(behaviour_of(Reviewer)) == rows(kept)


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, None])
@pytest.mark.parametrize("field", ["mailbox_messages", "concurrency"])
def test_wrong_count_is_a_spec_error(field: str, value: Any) -> None:
    actor = type("Counted", (Actor,), {field: value})
    with pytest.raises(SpecError, match=rf"Counted\.{field} is "):
        behaviour_of(actor)


def test_class_that_is_not_an_actor_is_a_spec_error() -> None:
    class Plain:
        pass

    with pytest.raises(SpecError, match="is not an Actor class"):
        behaviour_of(Plain)  # type: ignore[arg-type]


# --- policy --------------------------------------------------------------------------------------


def test_policy_is_read_from_the_class() -> None:
    class Busy(Actor):
        concurrency: ClassVar[int] = 3
        mailbox_messages: ClassVar[int] = 5
        overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST
        on_error: ClassVar[OnError] = OnError.RESUME

    behaviour = behaviour_of(Busy)
    assert (behaviour.concurrency, behaviour.mailbox_messages) == (3, 5)
    assert behaviour.overflow is Overflow.DROP_OLDEST
    assert behaviour.restarts_on_error is False


def test_an_actor_restarts_on_error_and_an_agent_does_not() -> None:
    assert behaviour_of(Actor).restarts_on_error is True
    assert behaviour_of(Agent).restarts_on_error is False


def test_hooks_are_called_only_where_a_class_has_them() -> None:
    class Hooked(Actor):
        async def started(self, ctx: Context) -> None: ...

    behaviour = behaviour_of(Hooked)
    assert (behaviour.has_started_hook, behaviour.has_stopping_hook) == (True, False)
