"""Points that wait: nobody can tell whether, and how long, a batch has waited."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.rows import WINDOWS_NS, WindowFlag
from callboard.actors.metrics.windows import gathering
from callboard.actors.metrics.windows.core import ShardWindows
from callboard.actors.metrics.windows.settings import CustomWindow, WindowSettings

from ....thoroughness import examples
from .batches import (
    KEYS,
    MINUTE,
    SECOND,
    START,
    Point,
    Store,
    at,
    balanced,
    batch_of,
    only,
    windows_in,
)

SETTINGS = WindowSettings(custom=(CustomWindow(90 * SECOND, 90 * SECOND),))
WIDTHS = (*WINDOWS_NS, 90 * SECOND)

points = st.builds(at, st.integers(0, 300), st.floats(-1e6, 1e6), st.integers(0, len(KEYS) - 1))
batches = st.lists(
    st.tuples(st.sampled_from("ab"), st.lists(points, min_size=1, max_size=8), st.booleans()),
    max_size=12,
)


def outcome(
    work: list[tuple[str, list[Point], bool]], waiting_max: int, patch: pytest.MonkeyPatch
) -> object:
    """What the store and readers see, and the accounts, if so many points may wait."""
    patch.setattr(gathering, "WAITING_MIN", min(waiting_max, gathering.WAITING_MIN))
    patch.setattr(gathering, "WAITING_MAX", waiting_max)
    core, store = ShardWindows(SETTINGS), Store()
    sent = {"a": 0, "b": 0}
    for name, given_points, commits in work:
        batch = batch_of(given_points, sent[name], source=name, watermark=START)
        core.apply(batch, START + 5 * MINUTE)
        sent[name] += len(given_points)
        if commits:
            store.put(core.take_commit(START + 5 * MINUTE).windows)
    opened = [[*windows_in(core.open_rows([], width))] for width in WIDTHS]
    store.put(core.take_commit(START + 60 * MINUTE).windows)
    assert balanced(core)
    return opened, store.windows, store.flags, core.accounts


@settings(max_examples=examples(200))
@given(batches)
def test_windows_do_not_depend_on_what_waits(work: list[tuple[str, list[Point], bool]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        direct = outcome(work, 0, patch)
        assert outcome(work, 5, patch) == direct
        patch.undo()
        assert outcome(work, gathering.WAITING_MAX, patch) == direct


def test_a_reader_sees_points_that_wait() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(0), at(61)], watermark=START), START + 2 * MINUTE)
    core.apply(batch_of([at(62, 5.0)], 2, watermark=START), START + 2 * MINUTE)
    later = core.open_rows([], MINUTE, START + MINUTE)
    assert (only(later).size, only(later).max) == (2, 5.0)


def test_what_waits_is_in_the_next_commit() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(0), at(61)], watermark=START), START + 2 * MINUTE)
    core.take_commit(START + 2 * MINUTE)
    core.apply(batch_of([at(62)], 2, watermark=START), START + 2 * MINUTE)
    work = core.take_commit(START + 2 * MINUTE)
    restored = ShardWindows()
    whole = core.take_commit(START + 2 * MINUTE, whole=True)
    assert work.log
    assert whole.state is not None
    restored.restore(whole.state, [])
    assert only(restored.open_rows([], MINUTE, START + MINUTE)).size == 2


def test_the_first_window_of_a_source_is_partial_also_next_to_points_that_wait() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(1), at(61), at(121)], watermark=START), START + 3 * MINUTE)
    core.apply(batch_of([at(122)], 3, watermark=START), START + 3 * MINUTE)
    core.apply(batch_of([at(65, series=0)], source="b", watermark=START), START + 3 * MINUTE)
    flags = {
        (name[0].name, (name[2] - START) // MINUTE): flags
        for name, _, _, flags in windows_in(core.open_rows([], MINUTE))
    }
    partial = {name for name, each in flags.items() if WindowFlag.PARTIAL in each}
    assert partial == {("latency", 0), ("requests", 1)}


def test_the_caller_may_use_its_columns_again() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(1), at(61)], watermark=START), START + 2 * MINUTE)
    values = np.array([7.0])
    core.apply(batch_of([at(62)], 2, watermark=START, values=values), START + 2 * MINUTE)
    values[0] = 9.0
    assert only(core.open_rows([], MINUTE, START + MINUTE)).max == 7.0
