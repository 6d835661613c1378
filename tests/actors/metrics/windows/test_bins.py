"""Bins of open windows: counted like a plain counter, however they are sorted and merged."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.windows import bins as bins_module
from callboard.actors.metrics.windows.bins import (
    SKETCH_BINS_MAX,
    BinStore,
    merge_bins,
    sketches_of,
)
from callboard.actors.metrics.windows.compact import COUNT_MAX, bins_of, columns_of

from ....thoroughness import examples

CAPACITY = 8
points = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, CAPACITY - 1), st.integers(-80_000, 80_000)),
    max_size=50,
)


def counted(store: BinStore, slot: int) -> Counter[tuple[int, int]]:
    series = np.arange(CAPACITY)
    sketches = sketches_of(merge_bins(store.of(slot)), series)
    found: Counter[tuple[int, int]] = Counter()
    for number in series.tolist():
        own = slice(int(sketches.offsets[number]), int(sketches.offsets[number + 1]))
        keys, counts = sketches.keys[own].tolist(), sketches.counts[own].tolist()
        for key, count in zip(keys, counts, strict=True):
            found[number, key] += count
    return found


@settings(max_examples=examples(200))
@given(st.lists(points, max_size=6), st.sets(st.integers(0, 5)))
def test_bins_are_counted_like_by_a_counter(
    batches: list[list[tuple[int, int, int]]], commits: set[int]
) -> None:
    store = BinStore()
    expected: dict[int, Counter[tuple[int, int]]] = {slot: Counter() for slot in range(4)}
    for number, batch in enumerate(batches):
        cells = np.array([slot * CAPACITY + series for slot, series, _ in batch], np.int64)
        store.add(cells, np.array([key for _, _, key in batch], np.int32), CAPACITY)
        for slot, series, key in batch:
            expected[slot][series, key] += 1
        if number in commits:
            store.sort(CAPACITY)
            store.take_fresh()
    store.sort(CAPACITY)
    for slot in range(4):
        assert counted(store, slot) == expected[slot]


def test_what_is_fresh_is_taken_once() -> None:
    store = BinStore()
    store.add(np.array([1, 1, 2]), np.array([5, 5, 7], np.int32), CAPACITY)
    store.sort(CAPACITY)
    assert sorted(store.take_fresh()) == [0]
    assert store.take_fresh() == {}
    assert counted(store, 0) == {(1, 5): 2, (2, 7): 1}
    store.free(0)
    assert counted(store, 0) == {}


def test_a_full_buffer_is_sorted_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bins_module, "BUFFER_MIN", 16)
    monkeypatch.setattr(bins_module, "BUFFER_MAX", 16)
    monkeypatch.setattr(bins_module, "RUN_BINS_MIN", 8)
    store = BinStore()
    store.add(np.arange(100) % 24, np.arange(100, dtype=np.int32) % 7, CAPACITY)
    store.sort(CAPACITY)
    assert sum(sum(counted(store, slot).values()) for slot in range(4)) == 100


def test_a_count_that_is_too_large_for_one_number_is_divided() -> None:
    one = np.array([(3 << 44) | (9 << 26) | COUNT_MAX])
    merged = merge_bins([one, one, one])
    assert len(merged) == 3
    [count] = sketches_of(merged, np.array([3])).counts.tolist()
    assert count == 3 * COUNT_MAX


def test_a_sketch_keeps_its_highest_bins_in_each_order() -> None:
    rng = np.random.default_rng(3)
    keys = rng.permutation(3 * SKETCH_BINS_MAX)
    found = []
    for parts in (1, 2, 7):
        store = BinStore()
        for part in np.array_split(rng.permutation(keys), parts):
            store.add(np.full(len(part), 2), part.astype(np.int32), CAPACITY)
            store.sort(CAPACITY)
            store.take_fresh()
            store.add(np.array([5]), np.array([1], np.int32), CAPACITY)
            store.sort(CAPACITY)
            merge_bins(store.of(0))
        once = merge_bins([*store.of(0), np.array([(2 << 44) | ((4_095 + (1 << 17)) << 26) | 1])])
        sketches = sketches_of(once, np.array([2]))
        assert len(sketches.keys) == SKETCH_BINS_MAX
        assert int(sketches.counts.sum()) == len(keys) + 1
        found.append((sketches.keys.tolist(), sketches.counts.tolist()))
    assert found[0] == found[1] == found[2]


@settings(max_examples=examples(100))
@given(st.lists(points, min_size=1, max_size=4))
def test_bins_in_few_bytes_are_the_same_bins(
    batches: list[list[tuple[int, int, int]]],
) -> None:
    runs = []
    for batch in batches:
        codes = {(series << 44) | ((key + (1 << 17)) << 26) for _, series, key in batch}
        runs.append(np.array(sorted(code + 1 + code % 1_000 for code in codes), np.int64))
    columns = columns_of(runs)
    assert bins_of(columns).tolist() == np.concatenate(runs).tolist()
    assert bins_of(columns.narrowed()).tolist() == np.concatenate(runs).tolist()
    assert len(columns) == sum(map(len, runs))
    assert columns.narrowed().size_bytes <= columns.size_bytes


def test_bins_that_are_read_seldom_are_merged_and_kept_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bins_module, "RUN_BINS_MIN", 8)
    store = BinStore()
    run = np.array([(2 << 44) | (key << 26) | 5 for key in range(131_100, 131_200)])
    for _ in range(9):
        store.append(0, run, is_seldom_read=True)
    assert counted(store, 0) == {(2, key - (1 << 17)): 45 for key in range(131_100, 131_200)}
    assert store.size_bytes < 4 * store.bin_count()
    assert len(store.settled(0)) == 100
