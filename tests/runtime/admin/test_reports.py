"""What the admin API computes of histories: times, timelines, pages, the list of executions."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.executions.history.encoding import Packed
from callboard.actors.executions.history.events import Owner, Phase, Stepped, Submitted
from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.actors.executions.history.grown import GrownWriter
from callboard.actors.executions.history.moved import MovedWriter
from callboard.messages.core.contract import Contract, ContractKey, Request
from callboard.messages.jobs.plan import SubTask
from callboard.messages.storage.events import RecordedEvent
from callboard.runtime.admin.analysis import Analysis
from callboard.runtime.admin.execution_index import ExecutionIndex
from callboard.runtime.admin.paging import page_of
from callboard.runtime.admin.reports import Live, sub_tasks_of, view_of
from callboard.runtime.admin.timeline import Running, timeline_of
from callboard.runtime.admin.views import Place, QueryExecutions, QuerySubTasks, QueryTimeline
from tests.thoroughness import examples

KINDS = ("reports.a", "reports.b")
RESULT = Packed(ContractKey("reports.result", 1, 1), b"")
SORTS = ("number", "id", "status", "queue", "run", "attempts", "ended")


class Step(Request[Contract], name="reports.step"):
    """A step."""


@st.composite
def histories(draw: st.DrawFn) -> ExecutionHistory:
    """A history of sub-tasks that need earlier ones, with attempts that end in any order."""
    history = ExecutionHistory("e")
    history._submitted(Submitted("job", 90.0, "one/1", id="e"))
    history.phases.append(Phase("executing", 99.0))
    count = draw(st.integers(0, 30))
    writer, numbers = GrownWriter(), dict[str, int]()
    for number in range(count):
        needs = (
            draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        )
        kind = draw(st.sampled_from(KINDS))
        task = SubTask(f"s{number}", Step(), needs=tuple(f"s{need}" for need in needs))
        writer.add(task, Packed(ContractKey(kind, 1, 1), b""), numbers)
        numbers[task.id] = number
    history._grown(writer.event(None))
    history.planned_count = count
    now = 100.0
    for number in range(count):
        for attempt in range(1, draw(st.integers(0, 3)) + 1):
            now += draw(st.floats(0.0, 5.0))
            moved = MovedWriter()
            executor = draw(st.sampled_from(("1/7", "2/9", "odd")))
            took_s = draw(st.floats(0.0, 3.0))
            match draw(st.integers(0, 2)):
                case 0:
                    moved.done(
                        number, attempt, executor, took_s, Packed(ContractKey("r", 1, 1), b"")
                    )
                case 1:
                    moved.troubled(
                        number, attempt, executor, took_s, code="c", message="m", is_loss=False
                    )
                case _:
                    error = {"code": "failed", "message": "broke"}
                    moved.failed_in(number, error, attempt, executor, took_s)
            history._moved(moved.event(now))
    if draw(st.booleans()):
        history.owners.append(Owner("one/2", now - 1.0))
    history.version, history.at = count + 1, now
    return history


@given(histories(), st.sampled_from(("kind", "executor")), st.integers(1, 40), st.integers(1, 20))
@settings(max_examples=examples(200))
def test_a_timeline_accounts_for_every_attempt(
    history: ExecutionHistory, by: Any, bars_max: int, cells: int
) -> None:
    times = Analysis(history)
    for attempt in times.attempts:
        assert attempt.ready_at <= attempt.began_at <= attempt.ended_at
    keys = tuple(sorted({times.kinds[one.number] for one in times.attempts}))
    request = QueryTimeline(execution_id="e", by=by, bars_max=bars_max, cells=cells, open=keys[:1])
    timeline = timeline_of(history, times, request)
    groups = timeline.groups
    assert sum(group.attempts for group in groups) == len(times.attempts) == timeline.attempts
    assert sum(len(group.bars) for group in groups) <= bars_max
    assert sum(group.failures for group in groups) == sum(1 for one in times.attempts if one.code)
    for group in groups:
        assert len(group.cells) == (0 if group.bars else cells)
        ends: dict[int, float] = {}
        for bar in group.bars:
            assert ends.get(bar.row, 0.0) <= bar.began_at, "two runs overlap in a row"
            ends[bar.row] = bar.ended_at
        assert all(bar.row < group.rows for bar in group.bars)
        if group.bars:
            assert group.bars_left_off == group.attempts - len(group.bars)
        else:
            assert 1 <= max(group.cells) <= group.attempts


@given(histories(), st.data())
@settings(max_examples=examples(100))
def test_attempts_under_way_are_bars_until_now_and_no_ended_one_is(
    history: ExecutionHistory, data: st.DataObject
) -> None:
    times = Analysis(history)
    ended = {(one.number, one.attempt) for one in times.attempts}
    begun_at = history.at + 1.0
    picked = data.draw(st.lists(st.sampled_from([*history.ids, "unknown"]), unique=True))
    attempts = [(name, 7, "1/9", begun_at) for name in picked]
    attempts += [(history.ids[number], attempt, "1/9", begun_at) for number, attempt in ended]
    running = Running(begun_at + 2.0, attempts)
    request = QueryTimeline(execution_id="e")
    timeline = timeline_of(history, times, request, running)
    bars = [bar for group in timeline.groups for bar in group.bars if bar.outcome == "running"]
    known = set() if history.is_over else {name for name in picked if name != "unknown"}
    assert {bar.id for bar in bars} == known
    assert timeline.running == len(bars)
    assert sum(group.attempts for group in timeline.groups) == timeline.attempts + len(bars)
    for bar in bars:
        assert bar.ready_at <= bar.began_at == begun_at
        assert bar.ended_at == timeline.ended_at == running.at


@given(histories())
@settings(max_examples=examples(200))
def test_the_critical_path_ends_with_the_last_end_and_follows_needs(
    history: ExecutionHistory,
) -> None:
    times = Analysis(history)
    path = times.critical
    assert bool(path) == bool(times.attempts)
    if path:
        assert times.ended_at[path[-1]] == max(times.ended_at)
    for before, after in itertools.pairwise(path):
        assert before in times.needs[after]


@given(
    histories(),
    st.sampled_from(SORTS),
    st.booleans(),
    st.integers(1, 7),
)
@settings(max_examples=examples(200))
def test_pages_of_sub_tasks_are_the_whole_list_each_once(
    history: ExecutionHistory, sort: Any, is_ascending: bool, limit: int
) -> None:
    times, found, after = Analysis(history), list[Any](), None
    while True:
        request = QuerySubTasks(
            execution_id="e", sort=sort, is_ascending=is_ascending, limit=limit, after=after
        )
        page = sub_tasks_of(history, times, request)
        found += page.items
        after = page.next
        if after is None:
            break
    assert sorted(row.number for row in found) == list(range(len(history.ids)))
    assert page.total == len(found)
    keys = {"number": "number", "attempts": "attempts", "queue": "queue_s", "run": "run_s"}
    if sort in keys:
        values = [getattr(row, keys[sort]) for row in found]
        assert values == sorted(values, reverse=not is_ascending)
    failed = QuerySubTasks(execution_id="e", failed_only=True, limit=500)
    rows = sub_tasks_of(history, times, failed).items
    assert {row.number for row in rows} == {row.number for row in found if row.error}


@given(
    st.lists(
        st.tuples(st.one_of(st.floats(-5, 5), st.text(max_size=2)), st.integers(0, 40)),
        unique_by=lambda item: item[1],
    ),
    st.lists(st.integers(0, 40)),
    st.booleans(),
    st.integers(1, 5),
)
@settings(max_examples=examples(200))
def test_pages_stay_right_while_items_come_and_go(
    items: list[tuple[Any, int]], gone: list[int], is_ascending: bool, limit: int
) -> None:
    def place(item: tuple[Any, int]) -> Place:
        return item[0], f"{item[1]:03}"

    after, seen = None, list[tuple[Any, int]]()
    now = list(items)
    while True:
        page, after = page_of(now, place, after=after, limit=limit, is_ascending=is_ascending)
        seen += page
        if after is None:
            break
        # Items that were not shown yet, or were, go away in between.
        if gone:
            lost = gone.pop()
            now = [item for item in now if item[1] != lost]
    assert len({item[1] for item in seen}) == len(seen), "none comes twice"
    assert {item[1] for item in now} <= {item[1] for item in seen}, "none is left out"


def test_an_execution_says_why_it_waits() -> None:
    history = ExecutionHistory("one")
    history._submitted(Submitted("job", 1.0, "one/1", id="one"))
    assert "callboard resume one" in view_of(history, None).waits_for
    assert view_of(history, Live()).waits_for == ""
    history.planned_count = 0
    assert view_of(history, Live("no agent offers it.")).waits_for == "no agent offers it."
    assert "free agent" in view_of(history, Live(ready=2)).waits_for
    assert "next attempt" in view_of(history, Live(backing_off=1)).waits_for
    assert view_of(history, Live(running=1, ready=5)).waits_for == ""
    for message in ("first", "second"):
        error = {"code": "x", "message": message, "details": {"by": "ada"}}
        at = 5.0 if message == "first" else 6.0
        history._stepped(Stepped("running", "failed", at, "failed", {"error": error}))
    view = view_of(history, None)
    assert (view.status, view.is_over, view.waits_for) == ("failed", True, "")
    assert [failure.message for failure in view.failures] == ["second", "first"]
    assert view.transitions[0]["by"] == "ada"


def submitted(number: int, position: int) -> RecordedEvent:
    event = Submitted(f"job-{number % 2}", float(number), "one/1", id=f"x{number}")
    data = event.write()
    return RecordedEvent(
        position, f"execution/x{number}", 1, bytes(16), str(event.kind), 1, data, b"", 1.0
    )


def stepped(number: int, position: int, to: str) -> RecordedEvent:
    event = Stepped("running", to, number + 0.5, "t", {})
    return RecordedEvent(
        position, f"execution/x{number}", 2, bytes(16), str(event.kind), 1, event.write(), b"", 1.0
    )


def test_the_index_keeps_what_runs_and_the_newest_of_what_has_ended() -> None:
    index = ExecutionIndex(rows_max=3)
    for number in range(6):
        index.take([submitted(number, number * 2 + 1)])
        if number:
            index.take([stepped(number, number * 2 + 2, "completed")])
    page = index.page(QueryExecutions(), {"x0": 4})
    assert [row.id for row in page.items] == ["x5", "x4", "x0"]
    assert (page.items[-1].status, page.items[-1].done) == ("pending", 4)
    assert (page.left_off, index.left_off) == (3, 3)
    assert page.counts == {"completed": 2, "pending": 1}
    alone = index.page(QueryExecutions(status=("interrupted",)), {})
    assert [row.id for row in alone.items] == ["x0"]


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x80", b"\x93\x01\x02\x03"])
def test_a_damaged_event_is_a_problem_of_its_execution(data: bytes) -> None:
    index = ExecutionIndex()
    index.take([submitted(1, 1)])
    index.take([submitted(2, 2)._replace(data=data)])
    page = index.page(QueryExecutions(), {"x1": 0, "x2": 0})
    problems = {row.id: bool(row.problem) for row in page.items}
    assert problems == {"x1": False, "x2": True}
