"""The durable form: what is read is what was written, and damage is noticed."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.actors.metrics.windows import packing
from callboard.actors.metrics.windows.core import ShardWindows
from callboard.actors.metrics.windows.packing import pack, unpack
from callboard.actors.metrics.windows.settings import CustomWindow, WindowSettings
from callboard.messages.core.errors import StoreFailed
from callboard.messages.storage.errors import StoreDamaged, StoreTooNew

from ....thoroughness import examples
from .batches import MINUTE, SECOND, START, at, batch_of, source_named, windows_in

CUSTOM = WindowSettings(custom=(CustomWindow(90 * SECOND, 30 * SECOND),))


def busy_core() -> tuple[ShardWindows, bytes, list[bytes]]:
    """A core after some commits, the first of which was a whole state, and what its store has."""
    core = ShardWindows(CUSTOM)
    rng = random.Random(1)
    state, log = b"", list[bytes]()
    done = 0
    for minute in range(12):
        now = START + minute * MINUTE
        points = [
            at(60 * minute - rng.randrange(100), rng.lognormvariate(0, 2), rng.randrange(3))
            for _ in range(20)
        ]
        core.apply(batch_of(points, done, watermark=now - 100 * SECOND), now)
        core.apply(batch_of([at(1)], 3, source="b", watermark=now), now)
        done += len(points)
        work = core.take_commit(now, whole=minute == 5)
        if work.state is not None:
            state, log = work.state, []
        else:
            log.append(work.log)
    return core, state, log


def content(core: ShardWindows) -> list[Any]:
    widths = (*WINDOWS_NS, 90 * SECOND)
    rows = [found for width in widths for found in windows_in(core.open_rows([], width))]
    return [*rows, core.accounts, core.watermark_ns, core.accepted(source_named("a"))]


def test_a_restored_core_is_the_same() -> None:
    core, state, log = busy_core()
    other = ShardWindows(CUSTOM)
    other.restore(state, log)
    assert content(other) == content(core)
    later = START + 40 * MINUTE
    again = []
    for each in (core, other):
        for name in ("a", "b"):
            done = each.accepted(source_named(name)).sequence
            each.apply(batch_of([], done, source=name, watermark=later), later)
        again.append(each.take_commit(later))
    assert sum(map(len, again[0].windows)) > 10
    assert [list(windows_in(rows)) for rows in again[0].windows] == [
        list(windows_in(rows)) for rows in again[1].windows
    ]


def test_a_commit_without_news_has_no_bytes() -> None:
    core, _, _ = busy_core()
    core.take_commit(START + 11 * MINUTE)
    assert core.take_commit(START + 11 * MINUTE).log == b""


def test_a_change_is_as_large_as_the_windows_not_as_the_points() -> None:
    sizes = []
    for count in (1_000, 100_000):
        core = ShardWindows()
        rng = np.random.default_rng(1)
        columns: dict[str, Any] = {
            "series": np.full(count, 2, np.int32),
            "times_ns": np.full(count, START),
            "values": rng.lognormal(0, 1, count),
        }
        core.apply(batch_of([], **columns), START)
        sizes.append(len(core.take_commit(START).log))
    assert sizes[1] < 2_500
    assert sizes[1] < 2 * sizes[0]


def test_a_custom_window_may_leave_the_settings_and_come_into_them() -> None:
    core, state, log = busy_core()
    without = ShardWindows()
    without.restore(state, log)
    for width in WINDOWS_NS:
        found = list(windows_in(without.open_rows([], width)))
        assert found == list(windows_in(core.open_rows([], width)))
    back = ShardWindows(CUSTOM)
    moved = without.take_commit(START + 12 * MINUTE, whole=True).state
    assert moved is not None
    back.restore(moved, [])
    assert content(back)[-1] == content(core)[-1]


def test_a_missing_part_of_the_log_is_noticed() -> None:
    core = ShardWindows()
    core.apply(batch_of([at(1)]), START)
    core.take_commit(START)
    core.apply(batch_of([at(2)], source="b"), START)
    log = core.take_commit(START).log
    with pytest.raises(StoreDamaged):
        ShardWindows().restore(b"", [log])


def test_a_later_version_is_not_touched() -> None:
    data = bytearray(pack({"a": 1}))
    data[3] += 1
    with pytest.raises(StoreTooNew):
        unpack(bytes(data))


@settings(max_examples=examples(200))
@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_error_of_the_store(data: bytes) -> None:
    with pytest.raises(StoreFailed):
        ShardWindows().restore(data or b"?", [])


STATE = busy_core()[1]


@settings(max_examples=examples(200))
@given(st.integers(0, len(STATE) - 1), st.integers(1, 255))
def test_each_changed_byte_is_noticed(place: int, change: int) -> None:
    data = bytearray(STATE)
    data[place] ^= change
    with pytest.raises(StoreFailed):
        ShardWindows(CUSTOM).restore(bytes(data), [])


@settings(max_examples=examples(200))
@given(st.data())
def test_fields_that_do_not_fit_together_are_noticed_or_harmless(data: st.DataObject) -> None:
    """Damage that a checksum does not find: the fields themselves are wrong."""
    fields = unpack(STATE)
    name = data.draw(st.sampled_from(sorted(fields)))
    value = fields[name]
    if isinstance(value, np.ndarray) and len(value):
        other = value.copy()
        other[data.draw(st.integers(0, len(value) - 1))] = data.draw(
            st.sampled_from([-1, 0, 2**40, -(2**62), 2**62])
        )
        fields[name] = data.draw(st.sampled_from([other, other[:-1], value[:0]]))
    else:
        fields[name] = data.draw(st.sampled_from([None, -1, "text", [], [[1]], {}, value]))
    core = ShardWindows(CUSTOM)
    try:
        core.restore(pack(fields), [])
    except StoreFailed:
        return
    for width in WINDOWS_NS:
        core.open_rows([], width)


@settings(max_examples=examples(200))
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.floats(allow_nan=False)),
    st.lists(st.booleans()),
)
def test_arrays_are_packed_without_loss(
    whole: list[int], floats: list[float], flags: list[bool]
) -> None:
    found = unpack(
        pack({"w": np.array(whole, np.int64), "f": np.array(floats), "b": np.array(flags, bool)})
    )
    assert found["w"].tolist() == whole
    assert found["f"].tolist() == floats
    assert found["b"].tolist() == flags


def test_what_claims_to_be_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack({"a": np.zeros(1_000, np.int64)})
    assert len(data) < 40
    monkeypatch.setattr(packing, "ELEMENTS_MAX", 999)
    with pytest.raises(StoreDamaged):
        unpack(data)
