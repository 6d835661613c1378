"""Retention never outruns roll-up: what coarser windows hold, and what they do not."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.metrics.query.columns import take_rows
from callboard.actors.metrics.rows import WindowFlag, WindowRows
from callboard.actors.metrics.tiers.content import rows_not_held
from tests.runtime.objects.window_rows import MINUTE_NS, many_rows

FIVE_NS = 5 * MINUTE_NS


def coarse_of(fine: WindowRows, more: int = 0) -> WindowRows:
    """Windows of five minutes with the points of these, and `more`."""
    windows = -(-int(fine.starts_ns.max() + MINUTE_NS) // FIVE_NS)
    rows = many_rows(len(fine.series), windows, 1, FIVE_NS)
    counts = np.zeros(len(rows), np.int64)
    places = fine.series_index * windows + fine.starts_ns // FIVE_NS
    np.add.at(counts, places, fine.counts)
    return dataclasses.replace(rows, counts=counts + more)


@given(series=st.integers(1, 4), windows=st.integers(1, 30), more=st.integers(0, 3))
def test_coarser_windows_with_all_points_hold_the_finer_ones(
    series: int, windows: int, more: int
) -> None:
    fine = many_rows(series, windows, 3)
    coarse = coarse_of(fine, more)
    assert rows_not_held(fine, coarse)[0] == 0
    order = np.random.default_rng(1).permutation(len(coarse))
    assert rows_not_held(fine, take_rows(coarse, order))[0] == 0


@given(series=st.integers(1, 4), windows=st.integers(1, 30), data=st.data())
def test_a_coarser_window_that_lacks_a_point_or_is_open_or_missing_refuses(
    series: int, windows: int, data: st.DataObject
) -> None:
    fine = many_rows(series, windows, 3)
    coarse = coarse_of(fine)
    place = data.draw(st.integers(0, len(coarse) - 1))
    what = data.draw(st.sampled_from(("lacks a point", "is open", "is missing")))
    if what == "is open":
        flags = coarse.flags.copy()
        flags[place] = WindowFlag.OPEN
        lacking = dataclasses.replace(coarse, flags=flags)
    elif what == "lacks a point":
        counts = coarse.counts.copy()
        counts[place] -= 1
        lacking = dataclasses.replace(coarse, counts=counts)
    else:
        lacking = take_rows(coarse, np.delete(np.arange(len(coarse)), place))
    missing, example = rows_not_held(fine, lacking)
    wanted = (fine.series_index == coarse.series_index[place]) & (
        fine.starts_ns // FIVE_NS == coarse.starts_ns[place] // FIVE_NS
    )
    assert missing == wanted.sum()
    assert example == coarse.series[coarse.series_index[place]]


def test_without_coarser_windows_nothing_is_held() -> None:
    fine = many_rows(2, 3, 4)
    assert rows_not_held(fine, WindowRows.empty(FIVE_NS)) == (6, fine.series[0])
