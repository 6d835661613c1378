"""Segments of windows as Parquet: what goes in comes out, and nothing else does harm."""

import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.query.columns import combine_rows, take_rows
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, MatcherKind
from callboard.messages.storage.errors import StoreDamaged, StoreUnavailable
from callboard.runtime.objects.parquet import ParquetWindows
from tests.thoroughness import examples, sharing_fixtures

from .window_rows import MINUTE_NS, any_rows, equal_rows, many_rows

ALL = (-(2**63), 2**63 - 1)
WITHOUT_PANDAS = """
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pandas", "pyarrow", "polars"):
            raise ImportError(name)


sys.meta_path.insert(0, Refuse())
from tests.runtime.objects.window_rows import equal_rows, many_rows
from callboard.runtime.objects.parquet import ParquetWindows

form = ParquetWindows()
rows = many_rows(3, 4, 5)
data = form.write(rows, 3)
assert form.count(data) == 12
assert equal_rows(form.read("x", lambda: data, rows.width_ns, (), -(2**63), 2**63 - 1, 99), rows)
form.close()
"""


@pytest.fixture(scope="module")
def form() -> Iterator[ParquetWindows]:
    made = ParquetWindows()
    yield made
    made.close()


def read_all(form: ParquetWindows, data: bytes, limit: int = 2**31) -> WindowRows:
    name = f"{hash(data)}"
    return form.read(name, lambda: data, MINUTE_NS, (), *ALL, limit)


@settings(sharing_fixtures(), max_examples=examples(100))
@given(rows=any_rows(), level=st.integers(1, 5))
def test_what_is_written_is_read(form: ParquetWindows, rows: WindowRows, level: int) -> None:
    data = form.write(rows, level)
    assert form.count(data) == len(rows)
    assert equal_rows(read_all(form, data), rows)
    assert form.write(rows, level) == data


@settings(sharing_fixtures(), max_examples=examples(60))
@given(rows=any_rows(), divisor=st.integers(2, 4))
def test_parts_are_read_as_if_they_had_been_written_at_once(
    form: ParquetWindows, rows: WindowRows, divisor: int
) -> None:
    parts = [
        take_rows(rows, np.flatnonzero(rows.series_index % divisor == part))
        for part in range(divisor)
    ]
    parts = [part for part in parts if len(part)] or [rows]
    data = form.write_parts(iter(parts), 2)
    assert form.count(data) == len(rows)
    assert equal_rows(combine_rows(rows.width_ns, [read_all(form, data)]), rows)
    assert form.write_parts(iter(parts), 2) == data
    bare = form.read(f"{hash(data)}", lambda: data, MINUTE_NS, (), *ALL, 2**31, bare=True)
    assert len(bare) == len(rows)
    assert int(bare.counts.sum()) == int(rows.counts.sum())
    assert len(bare.sketches.keys) == 0


@settings(sharing_fixtures(), max_examples=examples(60))
@given(rows=any_rows(), from_=st.integers(-5, 20), span=st.integers(0, 2**20))
def test_a_reader_gets_the_windows_of_its_series_and_time(
    form: ParquetWindows, rows: WindowRows, from_: int, span: int
) -> None:
    data = form.write(rows, 1)
    begin, end = from_ * MINUTE_NS, (from_ + span) * MINUTE_NS
    matchers = [Matcher("__name__", MatcherKind.IS_NOT, "a")]
    found = form.read(f"{hash(data)}", lambda: data, MINUTE_NS, matchers, begin, end, 99)
    wanted = {
        (rows.series[index], start)
        for index, start in zip(rows.series_index.tolist(), rows.starts_ns.tolist(), strict=True)
        if begin <= start < end and rows.series[index].name != "a"
    }
    got = [
        (found.series[index], start)
        for index, start in zip(found.series_index.tolist(), found.starts_ns.tolist(), strict=True)
    ]
    assert got == sorted(wanted)
    assert form.series(f"{hash(data)}", lambda: data, matchers, begin, end) == {
        key for key, _ in wanted
    }


def test_more_rows_than_the_limit_show_as_one_more(form: ParquetWindows) -> None:
    data = form.write(many_rows(5, 10, 2), 1)
    assert len(read_all(form, data, limit=7)) == 8


@settings(sharing_fixtures(), max_examples=examples(100))
@given(place=st.integers(0, 10**6), byte=st.integers(1, 255), cut=st.booleans())
def test_damaged_bytes_are_damage_and_nothing_worse(
    form: ParquetWindows, place: int, byte: int, cut: bool
) -> None:
    good = form.write(many_rows(2, 3, 4), 1)
    at = place % len(good)
    bad = good[:at] if cut else good[:at] + bytes([good[at] ^ byte]) + good[at + 1 :]
    try:
        form.count(bad)
    except StoreDamaged:
        return
    # What DuckDB does not notice, the digest of the segment does: see `content.fetching`.


@pytest.mark.parametrize("data", [b"", b"PAR1", b"x" * 100])
def test_what_is_no_parquet_is_damage(form: ParquetWindows, data: bytes) -> None:
    with pytest.raises(StoreDamaged):
        form.count(data)


def test_duckdb_may_touch_nothing_else(form: ParquetWindows, tmp_path: Path) -> None:
    form.count(form.write(many_rows(1, 1, 1), 1))
    duck = form._connection()
    other = tmp_path / "other.parquet"
    for statement in (
        "SELECT * FROM read_text('/etc/hostname')",
        f"COPY (SELECT 1) TO '{other}' (FORMAT parquet)",
        f"ATTACH '{tmp_path / 'x.db'}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
    ):
        with pytest.raises(duckdb.Error):
            duck.execute(statement)
    assert not list(tmp_path.iterdir())


def test_a_read_that_takes_too_long_is_interrupted() -> None:
    form = ParquetWindows(deadline_s=0.05)
    try:
        with pytest.raises(StoreUnavailable, match=r"0\.05 s"), form._running() as duck:
            duck.execute("SELECT count(*) FROM range(1_000_000_000) a, range(1_000) b")
        assert form.count(form.write(many_rows(1, 1, 1), 1)) == 1
    finally:
        form.close()


def test_the_cache_of_files_is_bounded() -> None:
    form = ParquetWindows(cache_bytes=5_000)
    try:
        for number in range(10):
            rows = many_rows(2, 10, 5, seed=number)
            data = form.write(rows, 1)
            found = form.read(f"{number}", functools.partial(bytes, data), MINUTE_NS, (), *ALL, 99)
            assert equal_rows(found, rows)
        assert sum(path.stat().st_size for path in form._folder.iterdir()) < 10_000
    finally:
        form.close()
    assert not form._folder.exists()


def test_neither_pandas_nor_pyarrow_is_needed(root: Path) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_PANDAS], check=True, cwd=root, timeout=100)
