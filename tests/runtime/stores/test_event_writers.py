"""Writers that take a log over from each other, on every store."""

import uuid
from collections.abc import Callable

import pytest

from callboard.messages.core.fences import TERM_SHIFT
from callboard.messages.storage.errors import EventIdReused, WriterFenced, WrongExpectedVersion
from callboard.messages.storage.events import Append, Appended, EventStore, NewEvent

OpenStore = Callable[[], EventStore]


def event() -> NewEvent:
    return NewEvent(uuid.uuid4().bytes, "noted", b"x")


def test_a_writer_that_takes_the_log_back_knows_what_was_written_meanwhile(
    open_store: OpenStore,
) -> None:
    one, other = open_store(), open_store()
    epoch = one.take_over("one")
    assert one.commit([Append("a", (event(),))]) == [Appended(1, 1, 1)]
    assert other.take_over("other") == epoch + 1
    assert other.commit([Append("a", (event(), event()), 1)]) == [Appended(2, 3, 3)]
    with pytest.raises(WriterFenced):
        one.commit([Append("a", (event(),))])
    assert one.take_over("one again") == epoch + 2
    (stale,) = one.commit([Append("a", (event(),), 1)])
    assert isinstance(stale, WrongExpectedVersion)
    assert one.commit([Append("a", (event(),), 3)]) == [Appended(4, 4, 4)]
    with pytest.raises(WriterFenced):
        other.commit([Append("b", (event(),))])
    assert one.version_of("a") == 4
    assert (one.version_of("b"), one.head()) == (0, 4)


def test_an_append_that_is_refused_halfway_touches_no_neighbour(open_store: OpenStore) -> None:
    store = open_store()
    store.take_over("the test")
    store.commit([Append("a", (event(),)), Append("b", (event(),))])
    wrong = NewEvent(b"short", "noted", b"x")
    kept, refused, after = store.commit(
        [
            Append("b", (event(), event()), 1),
            Append("a", (event(), event(), wrong), 1),
            Append("a", (event(),), 1),
        ]
    )
    assert (kept, after) == (Appended(3, 4, 3), Appended(5, 5, 2))
    assert isinstance(refused, EventIdReused)
    found = [(each.position, each.stream, each.version) for each in store.read(2, 9)]
    assert found == [(3, "b", 2), (4, "b", 3), (5, "a", 2)]
    assert store.head() == 5


OLD_FENCE, NEW_FENCE = (5 << TERM_SHIFT) + 3, (6 << TERM_SHIFT) + 1


def test_a_replaced_actor_cannot_take_its_log_back(open_store: OpenStore) -> None:
    old, new = open_store(), open_store()
    assert old.take_over("old", OLD_FENCE) == OLD_FENCE
    assert old.commit([Append("a", (event(),))]) == [Appended(1, 1, 1)]
    assert new.take_over("new", NEW_FENCE) == NEW_FENCE
    for _ in range(2):
        with pytest.raises(WriterFenced):
            old.commit([Append("a", (event(),))])
        with pytest.raises(WriterFenced, match=f"'new' has taken over with epoch {NEW_FENCE}"):
            old.take_over("old", OLD_FENCE)
    assert new.commit([Append("a", (event(),), 1)]) == [Appended(2, 2, 2)]
    assert old.head() == 2


def test_an_actor_takes_its_log_back_from_a_command_and_a_driver_from_anybody(
    open_store: OpenStore,
) -> None:
    actor, command = open_store(), open_store()
    assert actor.take_over("actor", OLD_FENCE) == OLD_FENCE
    assert command.take_over("command") == OLD_FENCE + 1
    with pytest.raises(WriterFenced):
        actor.commit([Append("a", (event(),))])
    assert actor.take_over("actor", OLD_FENCE) == OLD_FENCE + 2
    # The next incarnation of the actor, in the same process, has a token of the same term.
    assert actor.take_over("actor", OLD_FENCE + 1) == OLD_FENCE + 3
    with pytest.raises(WriterFenced):
        command.commit([Append("a", (event(),))])


def test_the_first_actor_takes_over_a_log_of_an_earlier_release(open_store: OpenStore) -> None:
    earlier, actor = open_store(), open_store()
    epoch = earlier.take_over("earlier")
    assert epoch < 1 << TERM_SHIFT, "it counted writers"
    assert actor.take_over("actor", OLD_FENCE) == OLD_FENCE
    with pytest.raises(WriterFenced):
        earlier.commit([Append("a", (event(),))])
