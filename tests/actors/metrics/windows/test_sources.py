"""The numbers of a source's points: intervals against a plain set."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.windows.sources import NO_WATERMARK, SourceState, SourceStatus

from ....thoroughness import examples
from .batches import source_named


def new_source() -> SourceState:
    return SourceState(source_named("a"), 0, 0)


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=25)


@settings(max_examples=examples(400))
@given(spans)
def test_each_number_is_missing_until_it_has_arrived(parts: list[tuple[int, int]]) -> None:
    source, arrived = new_source(), set[int]()
    for start, length in parts:
        end = start + length
        missing = {
            number for first, last in source.missing(start, end) for number in range(first, last)
        }
        assert missing == set(range(start, end)) - arrived
        source.take(start, end, 0, 0)
        arrived |= set(range(start, end))
        prefix = next(number for number in range(200) if number not in arrived)
        assert source.prefix == prefix
        edges = [source.prefix]
        for interval in source.ahead:
            assert edges[-1] < interval.start < interval.end
            edges.append(interval.end)
        ahead = {number for each in source.ahead for number in range(each.start, each.end)}
        assert ahead == arrived - set(range(prefix))


@settings(max_examples=examples(200))
@given(st.permutations(range(8)), st.lists(st.integers(1, 100), min_size=8, max_size=8))
def test_the_watermark_is_that_of_batches_without_a_gap_before(
    order: list[int], steps: list[int]
) -> None:
    source = new_source()
    marks = [sum(steps[: number + 1]) for number in range(8)]
    done = set[int]()
    for number in order:
        source.take(10 * number, 10 * number + 10, marks[number], now_ns=10**6)
        done.add(number)
        contiguous = next((each for each in range(9) if each not in done), 9)
        expected = marks[contiguous - 1] if contiguous else NO_WATERMARK
        assert source.watermark_ns == expected


def test_a_watermark_is_never_ahead_of_the_clock() -> None:
    source = new_source()
    source.take(0, 0, 500, now_ns=100)
    assert source.watermark_ns == 100


def test_a_gap_that_is_given_up_is_counted() -> None:
    source = new_source()
    source.take(5, 8, 50, 60)
    source.take(10, 12, 55, 61)
    assert source.gap_since_ns == 60
    assert source.give_up_gap(100) == 5
    assert (source.prefix, source.watermark_ns, source.gap_since_ns) == (8, 50, 100)
    assert source.give_up_gap(100) == 2
    assert (source.prefix, source.ahead) == (12, [])


@pytest.mark.parametrize("status", list(SourceStatus))
def test_a_source_is_described_and_made_again(status: SourceStatus) -> None:
    source = new_source()
    source.take(5, 8, 50, 60)
    source.status = status
    again = SourceState.of_data(source.to_data(), source.numbers)
    assert again.to_data() == source.to_data()
    assert again.status is status
