"""The plan of a group decides as the store in memory does, whatever its writer knows of the log."""

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.core.errors import CallboardError, InvalidMessage
from callboard.messages.storage.errors import EventIdReused, EventTooLarge, WrongExpectedVersion
from callboard.messages.storage.events import ANY, Append, Appended, NewEvent
from callboard.runtime.stores.memory import MemoryEventStore
from callboard.runtime.stores.postgres.core import NONE, Plan, Standing, Stream, plan_group
from tests.thoroughness import examples

BYTES_MAX: Final = 8
IDS: Final = [bytes([number]) * 16 for number in range(1, 9)]


def event(number: int, size: int = 1) -> NewEvent:
    return NewEvent(IDS[number], "k", b"x" * size)


EVENTS = st.builds(event, st.integers(0, 7), st.sampled_from([1, 8, 9]))
APPENDS = st.builds(
    Append,
    st.sampled_from("ab"),
    st.lists(EVENTS, max_size=3).map(tuple),
    st.sampled_from([ANY, ANY, 0, 1, 2, 3]),
    st.sampled_from([b"", b"", IDS[0], IDS[1]]),
)
GROUPS = st.lists(st.lists(APPENDS, min_size=1, max_size=4), max_size=5)


class Log:
    """The log as the database has it, and what a writer may know of it."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.standing: dict[bytes, Standing] = {}
        self.head = 0

    def plan(self, group: Sequence[Append], asked: set[int] | None) -> Plan:
        """Plan a group: with the ids of these appends looked up, or of all."""
        ids = {
            each.id
            for index, append in enumerate(group)
            if asked is None or index in asked
            for each in append.events
        }
        return plan_group(
            group,
            head=self.head,
            streams=dict(self.streams),
            standing={id_: place for id_, place in self.standing.items() if id_ in ids},
            asked=asked,
            event_bytes_max=BYTES_MAX,
        )

    def store(self, plan: Plan) -> None:
        """Do what the statement of the store does; an id that comes twice violates a constraint."""
        names = {stream.number: name for name, stream in self.streams.items()}
        names |= {number: name for name, number in plan.new_streams.items()}
        columns = zip(plan.numbers, plan.versions, plan.events, strict=True)
        for number, version, each in columns:
            assert each.id not in self.standing
            self.head += 1
            self.standing[each.id] = Standing(names[number], version, self.head)
        self.streams |= plan.streams


def shown(outcomes: Sequence[Appended | CallboardError]) -> list[object]:
    return [o if isinstance(o, Appended) else (type(o), str(o)) for o in outcomes]


@settings(max_examples=examples(400))
@given(GROUPS)
def test_a_plan_decides_as_the_store_in_memory(groups: list[list[Append]]) -> None:
    memory, log = MemoryEventStore(event_bytes_max=BYTES_MAX), Log()
    memory.take_over("the test")
    for group in groups:
        plan = log.plan(group, None)
        assert plan.doubtful == []
        assert shown(plan.outcomes) == shown(memory.commit(group))
        log.store(plan)
        assert log.head == memory.head()
        for name in "ab":
            events = memory.read_stream(name)
            last = events[-1].id if events else b""
            stream = log.streams.get(name, NONE)
            assert (stream.version, stream.last) == (len(events), last)
        assert all(s.number <= log.head for s in log.streams.values())


@settings(max_examples=examples(200))
@given(GROUPS)
def test_a_plan_without_lookups_names_what_needs_one(groups: list[list[Append]]) -> None:
    log = Log()
    for group in groups:
        unasked, whole = log.plan(group, set()), log.plan(group, None)
        asked = log.plan(group, set(unasked.doubtful))
        assert asked.doubtful == [n for n in asked.doubtful if n not in unasked.doubtful]
        refused = [
            index
            for index, outcome in enumerate(unasked.outcomes)
            if isinstance(outcome, WrongExpectedVersion)
        ]
        assert unasked.doubtful == refused
        known = any(each.id in log.standing for append in group for each in append.events)
        if not known:
            assert shown(unasked.outcomes) == shown(whole.outcomes)
        log.store(whole)


# --- case by case -------------------------------------------------------------------------------


def test_the_columns_of_what_is_stored_begin_after_the_head() -> None:
    log = Log()
    log.head = 10
    log.streams["a"] = Stream(4, 2, IDS[7])
    group = [
        Append("a", (event(0), event(1)), 2, IDS[7]),
        Append("b", (event(2),), 0),
        Append("a", (event(3),), 4, IDS[1]),
    ]
    plan = log.plan(group, None)
    assert plan.outcomes == [Appended(11, 12, 4), Appended(13, 13, 1), Appended(14, 14, 5)]
    assert (plan.numbers, plan.versions) == ([4, 4, 13, 4], [3, 4, 1, 5])
    assert [each.id for each in plan.events] == [IDS[0], IDS[1], IDS[2], IDS[3]]
    assert plan.new_streams == {"b": 13}
    assert plan.streams == {"a": Stream(4, 5, IDS[3]), "b": Stream(13, 1, IDS[2])}


def test_a_repeat_is_where_it_was_and_half_a_repeat_is_refused() -> None:
    log = Log()
    whole = Append("a", (event(0), event(1)))
    log.store(log.plan([whole, Append("b", (event(2),))], None))
    repeated = log.plan([whole, whole, Append("a", (event(1),))], None)
    assert repeated.outcomes == [
        Appended(1, 2, 2, is_repeat=True),
        Appended(1, 2, 2, is_repeat=True),
        Appended(2, 2, 2, is_repeat=True),
    ]
    assert repeated.events == []
    wrong = (
        Append("b", (event(0),)),
        Append("a", (event(1), event(0))),
        Append("a", (event(0), event(3))),
        Append("a", (event(3), event(0))),
        Append("a", (event(4), event(4))),
    )
    for append in wrong:
        (outcome,) = log.plan([append], None).outcomes
        assert isinstance(outcome, EventIdReused)


def test_a_repeat_within_one_group_is_where_it_was() -> None:
    log = Log()
    log.head, log.streams["a"] = 10, Stream(4, 2, IDS[7])
    whole = Append("a", (event(0), event(1), event(2)))
    plan = log.plan(
        [Append("b", (event(3),)), whole, whole, Append("a", (event(1), event(2)))], None
    )
    assert plan.outcomes[1:] == [
        Appended(12, 14, 5),
        Appended(12, 14, 5, is_repeat=True),
        Appended(13, 14, 5, is_repeat=True),
    ]


def test_what_no_store_can_take_touches_nothing() -> None:
    log = Log()
    group = [Append("a", ()), Append("a", (event(0, 9),)), Append("a", (event(1, 8),))]
    plan = log.plan(group, None)
    assert [type(outcome) for outcome in plan.outcomes] == [InvalidMessage, EventTooLarge, Appended]
    assert plan.versions == [1]


@pytest.mark.parametrize("name", ["a\0", "\0"])
def test_names_with_a_nul_character_are_refused(name: str) -> None:
    log = Log()
    group = [Append(name, (event(0),)), Append("a", (NewEvent(IDS[1], name, b""),))]
    assert all(isinstance(outcome, InvalidMessage) for outcome in log.plan(group, None).outcomes)
