"""The newest windows in memory: bounded, each in its newest revision, and complete from a time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.aggregation.newest import NewestWindows
from callboard.actors.metrics.ports import Extent
from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.actors.metrics.series import Matcher, MatcherKind
from tests.thoroughness import examples

from .window_rows import BEGIN_NS, MINUTE_NS, SERIES, Window, contents, rows_of, windows

ALWAYS = (-(2**62), 2**62)


def minute(number: int, revision: int = 1, value: float = 1.0) -> Window:
    return Window(
        SERIES[0], BEGIN_NS // MINUTE_NS * MINUTE_NS + number * MINUTE_NS, (value,), revision
    )


def test_a_correction_replaces_a_window() -> None:
    newest = NewestWindows(0, 100)
    newest.add(rows_of([minute(1), minute(2)]))
    newest.add(rows_of([minute(1, 2, 5.0)]))
    found = newest.windows((), MINUTE_NS, *ALWAYS)
    assert found.sums.tolist() == [5.0, 1.0]
    assert len(newest.windows((), WINDOWS_NS[1], *ALWAYS)) == 0


def test_the_oldest_are_dropped_and_the_rest_is_known_to_be_complete() -> None:
    newest = NewestWindows(7, 10)
    assert newest.complete_from_ns(MINUTE_NS) == 7
    for number in range(25):
        newest.add(rows_of([minute(number)]))
    assert len(newest.windows((), MINUTE_NS, *ALWAYS)) == 10
    complete = newest.complete_from_ns(MINUTE_NS)
    assert minute(14).start_ns < complete <= minute(15).start_ns
    first, end = minute(15).start_ns, minute(25).start_ns
    assert newest.extents() == {MINUTE_NS: Extent(first, end)}


@settings(max_examples=examples(60))
@given(
    given_=st.lists(windows(), max_size=6),
    from_=st.integers(-5, 210),
    long=st.integers(0, 210),
    name=st.sampled_from(("requests", "z", "none")),
)
def test_what_is_chosen_is_what_fits(
    given_: list[list[Window]], from_: int, long: int, name: str
) -> None:
    newest = NewestWindows(0, 1_000)
    model: dict[tuple[object, int], Window] = {}
    for part in given_:
        if part:
            newest.add(rows_of(part))
        for window in part:
            known = model.get((window.series, window.start_ns))
            if known is None or (window.revision, len(window.values)) >= (
                known.revision,
                len(known.values),
            ):
                model[window.series, window.start_ns] = window
    from_ns = minute(from_).start_ns
    to_ns = from_ns + long * MINUTE_NS
    right = [w for w in model.values() if w.series.name == name and from_ns <= w.start_ns < to_ns]
    right.sort(key=lambda window: (window.series, window.start_ns))
    found = newest.windows([Matcher("__name__", MatcherKind.IS, name)], MINUTE_NS, from_ns, to_ns)
    assert contents(found) == contents(rows_of(right))
