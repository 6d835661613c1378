"""Log lines in rings: their bounds, their order, what is sent twice, and what queries find."""

from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.control.logs import LEVELS, LogRow, LogRows, QueryLogs
from callboard.runtime.telemetry.logs.core import ROW_BYTES, LogRing, SystemLogs, matches
from tests.thoroughness import examples


def row(text: str = "", time: float = 0.0, **fields: str) -> LogRow:
    given = {"host": "host-1", "path": "/a", "level": "info", "logger": "x", **fields}
    return LogRow(time=time, text=text, **given)


def batch(first: int, count: int, *, slot: int = 1, epoch: int = 1) -> LogRows:
    rows = tuple(row(f"{slot}.{epoch}.{number}") for number in range(first, first + count))
    return LogRows(slot=slot, epoch=epoch, first=first, rows=rows)


@given(
    st.lists(st.integers(0, 400), max_size=60),
    st.integers(1, 20),
    st.integers(ROW_BYTES, 20 * ROW_BYTES),
)
@settings(max_examples=examples(100))
def test_a_ring_keeps_the_newest_lines_within_its_bounds(
    sizes: list[int], lines_max: int, bytes_max: int
) -> None:
    ring = LogRing(lines_max, bytes_max)
    for size in sizes:
        ring.add(row("x" * size))
    kept = list(ring.since(0))
    assert [line.number for line in kept] == list(range(len(sizes), ring.dropped, -1))
    assert len(kept) <= lines_max
    assert sum(line.size for line in kept) <= bytes_max
    assert ring.newest == len(sizes)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 10)), max_size=20))
@settings(max_examples=examples(100))
def test_lines_that_are_sent_again_count_once(batches: list[tuple[int, int]]) -> None:
    logs, highest, here = SystemLogs(), 0, set[int]()
    for first, count in batches:
        logs.take(batch(first, count))
        here |= {number for number in range(first, first + count) if number > highest}
        highest = max(highest, first + count - 1)
    rows = logs.page(QueryLogs(limit=2_000)).rows
    assert sorted(int(each.text.rpartition(".")[2]) for each in rows) == sorted(here)


def test_a_new_incarnation_begins_again_and_an_old_one_is_not_heard() -> None:
    logs = SystemLogs()
    logs.take(batch(1, 2))
    logs.take(batch(1, 1, epoch=2))
    logs.take(batch(3, 1))
    texts = [each.text for each in logs.page(QueryLogs()).rows]
    assert texts == ["1.1.1", "1.1.2", "1.2.1"]


def test_a_gap_is_counted() -> None:
    logs = SystemLogs()
    logs.take(batch(4, 2))
    logs.take(batch(9, 1))
    assert logs.page(QueryLogs()).dropped == 3 + 3


def test_pages_follow_each_other_without_a_gap() -> None:
    logs = SystemLogs()
    for number in range(1, 6):
        logs.take(batch(number, 1, slot=number % 2 + 1, epoch=number))
    first = logs.page(QueryLogs(limit=2))
    assert [each.text for each in first.rows] == ["1.4.4", "2.5.5"], "the newest ones"
    for number in range(6, 11):
        logs.take(batch(number, 1, slot=3))
    seen: list[str] = []
    cursor = first.cursor
    for _ in range(4):
        page = logs.page(QueryLogs(limit=2, after=cursor))
        seen += [each.text for each in page.rows]
        cursor = page.cursor
    assert seen == [f"3.1.{number}" for number in range(6, 11)]


def test_a_place_is_a_host_an_actor_and_all_below_or_an_execution() -> None:
    line = row(host="host-1", path="/reviews/store", execution="abcd-1", level="warning")
    found = ("", "host-1", "host-1/reviews", "/reviews", "/reviews/store/", "abcd", "abcd-1")
    assert all(matches(line, where, "debug") for where in found)
    others = ("host", "host-10", "/review", "host-1/reviews/store/x", "abc", "bcd")
    assert not any(matches(line, where, "debug") for where in others)
    assert [matches(line, "", level) for level in LEVELS] == [True, True, True, False, False]
