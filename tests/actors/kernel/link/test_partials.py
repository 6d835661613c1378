"""Partial results on a link: their order, their size, and what comes for nobody."""

from collections.abc import Iterator

import pytest

from callboard.actors.kernel.asks import Ask
from callboard.actors.kernel.link.queue import OutgoingMessage
from callboard.messages.core.errors import PayloadTooLarge
from callboard.messages.core.frame import Kind

from .pair import LIMITS, Asked, Note, Pair, Question, Reply


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def streaming(pair: Pair, text: str = "") -> tuple[Asked, Ask]:
    """An ask whose asker takes partial results, and its handler's side."""
    here = pair.here
    asked = Asked(here.pending, here.link.slot, 101)
    asked.window = 4
    question = Question(number=1, text=text)
    here.link.outbox.post(OutgoingMessage(7, question, asked, here.now() + 9.0))
    pair.settle()
    ask = pair.box.items[-1]
    assert isinstance(ask, Ask)
    return asked, ask


@pytest.mark.parametrize("size", [0, 2 * LIMITS.inline_bytes_max])
def test_the_window_travels_with_the_ask(pair: Pair, size: int) -> None:
    assert streaming(pair, "x" * size)[1].credit == 4
    pair.here.ask(2)
    pair.settle()
    assert pair.box.items[-1].credit == -1


@pytest.mark.parametrize("size", [0, 2 * LIMITS.inline_bytes_max])
def test_the_reply_comes_after_all_of_them(pair: Pair, size: int) -> None:
    asked, ask = streaming(pair)
    for number in range(20):
        ask.sink.partial(ask.correlation, Note(number=number, text="x" * 100))
    ask.reply(Reply(number=1, text="x" * size))
    pair.settle()
    assert [one.number for one in asked.partials if isinstance(one, Note)] == list(range(20))
    assert isinstance(asked.result, Reply)


def test_a_large_one_is_refused_where_it_is_made(pair: Pair) -> None:
    asked, ask = streaming(pair)
    with pytest.raises(PayloadTooLarge, match=r"pair\.note has .* bytes; at most 500"):
        ask.sink.partial(ask.correlation, Note(number=1, text="x" * 501))
    ask.reply(Reply(number=1))
    pair.settle()
    assert asked.partials == []
    assert asked.result == Reply(number=1)


def test_a_grant_reaches_its_ask_and_nonsense_changes_nothing(pair: Pair) -> None:
    _, ask = streaming(pair)
    control = pair.here.link.outbox.control
    control(Kind.GRANT, 3, ask.correlation)
    control(Kind.GRANT, -3, ask.correlation)
    control(Kind.GRANT, 0, ask.correlation)
    control(Kind.GRANT, 5, 999)
    pair.settle()
    assert ask.credit == 7


def test_one_after_the_outcome_is_dropped(pair: Pair) -> None:
    asked, ask = streaming(pair)
    ask.reply(Reply(number=1))
    ask.sink.partial(ask.correlation, Note(number=1))
    pair.there.link.outbox.partial(ask.correlation, Note(number=2))
    pair.settle()
    assert asked.partials == []


def test_one_that_does_not_decode_ends_the_ask(pair: Pair) -> None:
    asked, ask = streaming(pair)
    pair.there.link.outbox.control(Kind.PARTIAL, 0, ask.correlation, b"\xff\xff")
    pair.settle()
    assert ask.done
    assert asked.error is not None
    assert asked.error.code == "unknown_contract"
