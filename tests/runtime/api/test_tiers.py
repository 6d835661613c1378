"""Tiers by their URLs: as an actor of a system, and as an archive that anybody reads."""

import builtins
import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import callboard
from bench.window_rows import many_rows
from callboard.actors.metrics.rows import WINDOWS_NS, WindowRows
from callboard.actors.metrics.tiers.core import PlanLimits
from callboard.actors.metrics.tiers.rules import DEFAULT_RULES, dataset_of
from callboard.actors.metrics.tiers.worker import QueryTiers, RunTiers, TierTimes
from callboard.actors.storage.core import MoveLimits
from callboard.actors.storage.lifecycle import LifecycleRule
from callboard.actors.storage.scrubber import Scrubbed
from callboard.messages.core.errors import SpecError, StoreFailed
from callboard.messages.storage.errors import StoreUnavailable
from callboard.runtime.api.tiers import open_archive, open_tiers, start_tiers
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.stores.choose import metrics_storage
from tests.runtime.objects.window_rows import equal_rows

MINUTE_NS, FIVE_NS = WINDOWS_NS[:2]
EVER = (-(2**62), 2**62)
AT_ONCE = MoveLimits(lease_s=0.0)


def days_ago(rows: WindowRows, days: float) -> WindowRows:
    begin = int(time.time() - days * 86_400) // 86_400 * 86_400 * 10**9
    return dataclasses.replace(rows, starts_ns=rows.starts_ns + begin)


def committed(url: str, *windows: WindowRows) -> None:
    hot = metrics_storage(url, durability="normal")
    hot.open()
    hot.claim(1, 1)
    hot.commit(1, 1, windows=windows)
    hot.close()


@pytest.fixture(params=["sqlite and a folder", "postgres and s3"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, Any]:
    """The URLs of a hot store and of its objects, and options."""
    if request.param == "sqlite and a folder":
        return str(tmp_path / "metrics.db"), str(tmp_path / "objects"), None
    bucket, options = request.getfixturevalue("s3_bucket")
    return request.getfixturevalue("postgres_url"), bucket, options


async def test_windows_move_and_are_read_by_anybody(places: tuple[str, str, Any]) -> None:
    store, objects, options = places
    rows = days_ago(many_rows(3, 180, 4), 3)
    committed(store, rows)
    tiers = open_tiers(
        store,
        objects,
        options=options,
        move_limits=AT_ONCE,
        plan_limits=PlanLimits(small_segments=2),
    )
    tiers.open()
    assert tiers.round().switched == 3
    async with open_archive(store, options=options) as archive:
        assert equal_rows(await archive.windows((), MINUTE_NS, *EVER, 10**6), rows)
        # The merge deletes the files that this reader has read, and those that it has not.
        assert tiers.round().deleted == 1
        tiers.scrub()
        assert equal_rows(await archive.windows((), MINUTE_NS, *EVER, 10**6), rows)
    assert len(tiers.catalogue.all_segments()) == 1
    tiers.close()


async def test_the_tiers_of_a_system_work_by_themselves(tmp_path: Path) -> None:
    store, objects = str(tmp_path / "metrics.db"), str(tmp_path / "objects")
    rows = days_ago(many_rows(2, 60, 4), 3)
    committed(store, rows, days_ago(many_rows(2, 60, 4), 9))
    async with callboard.start(engine="inline", hosts=1) as system:
        times = TierTimes(round_s=0.05, scrub_s=0.1)
        ref = await start_tiers(system, store, objects, times=times)
        view = await system.ask(QueryTiers(with_plan=True), ref)
        while view.scrubs < 2:
            view = await system.ask(RunTiers(), ref)
        assert (view.switched, view.rows, view.refused) == (1, 120, 1)
        assert view.corrupt == view.removed == view.failed == 0
        (file,) = (path for path in (tmp_path / "objects").rglob("*-*") if path.is_file())
        file.unlink()
        view = await system.ask(RunTiers(scrub=True), ref)
        assert view.corrupt == 1
    with pytest.raises(StoreFailed):
        async with open_archive(store) as archive:
            await archive.windows((), MINUTE_NS, *EVER, 10**6)


async def test_a_system_with_metrics_has_tiers_and_reads_what_they_moved(tmp_path: Path) -> None:
    store = str(tmp_path / "metrics.db")
    rows = days_ago(many_rows(2, 60, 4), 3)
    committed(store, rows)
    async with callboard.start(
        engine="inline", hosts=1, metrics=store, metrics_objects=str(tmp_path / "objects")
    ) as system:
        view = await system.ask(RunTiers(), await system.lookup("metric-tiers"))
        assert (view.switched, view.rows) == (1, 120)
        found = await system.metrics.reader.windows((), MINUTE_NS, *EVER, 10**6)
        assert equal_rows(found, rows)
        assert len(await system.metrics.storage.windows((), MINUTE_NS, *EVER, 10**6)) == 0


@pytest.mark.parametrize("wrong", [{"metrics_objects": ""}, {"metrics_objects": "objects"}])
def test_an_object_store_without_a_metrics_store_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="metrics_objects"):
        Settings(engine="inline", **wrong)


async def test_a_second_worker_takes_the_moves_over(tmp_path: Path) -> None:
    store, objects = str(tmp_path / "metrics.db"), str(tmp_path / "objects")
    async with callboard.start(engine="inline", hosts=1) as system:
        one = await start_tiers(system, store, objects)
        other = await start_tiers(system, store, objects, name="other")
        assert (await system.ask(RunTiers(), other)).rounds == 1
        with pytest.raises(StoreFailed):
            await system.ask(RunTiers(), one)


async def test_without_an_object_store_windows_stay_until_they_expire(tmp_path: Path) -> None:
    store = str(tmp_path / "metrics.db")
    committed(
        store,
        days_ago(many_rows(2, 60, 4), 3),
        days_ago(many_rows(2, 60, 4), 9),
        days_ago(many_rows(2, 12, 20, FIVE_NS), 9),
    )
    tiers = open_tiers(store)
    tiers.open()
    assert tiers.round().switched == 1
    tiers.scrub()
    tiers.close()
    hot = metrics_storage(store)
    hot.open()
    assert len(hot.windows((), MINUTE_NS, *EVER, 10**6)) == 120
    hot.close()


def test_a_rule_may_name_a_location_of_its_own(tmp_path: Path) -> None:
    store, cold = str(tmp_path / "metrics.db"), str(tmp_path / "cold")
    rule = LifecycleRule("all", dataset_of(MINUTE_NS), 0.0, location=cold)
    committed(store, days_ago(many_rows(2, 60, 4), 1))
    tiers = open_tiers(store, str(tmp_path / "objects"), rules=(rule,))
    tiers.open()
    assert tiers.round().switched == 1
    assert [path for path in (tmp_path / "cold").rglob("*-*") if path.is_file()]
    tiers.close()


def test_a_new_place_for_segments_leaves_the_old_ones_where_they_are(tmp_path: Path) -> None:
    store = str(tmp_path / "metrics.db")
    found: Mapping[str, Scrubbed] = {}
    for place, age in (("old", 4), ("new", 3)):
        committed(store, days_ago(many_rows(2, 60, 4), age))
        tiers = open_tiers(store, str(tmp_path / place))
        tiers.open()
        assert tiers.round().switched == 1
        found = tiers.scrub()
        assert {each.corrupt for each in found.values()} == {0}
        tiers.close()
    assert sorted(found) == [str(tmp_path / "new"), str(tmp_path / "old")]


@pytest.mark.parametrize("package", ["duckdb", "obstore"])
def test_a_missing_package_names_the_extra(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    real: Callable[..., Any] = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {package!r}")
        return real(name, *rest)

    for module in ("callboard.runtime.objects.parquet", "callboard.runtime.objects.remote"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SpecError, match=r"callboard\[data\]"):
        open_tiers(str(tmp_path / "metrics.db"), "memory:///")


async def test_an_archive_without_its_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        async with open_archive(str(tmp_path / "none.db")):
            raise AssertionError
    assert not list(tmp_path.iterdir())


def test_the_defaults_keep_minutes_for_a_week_and_days_for_ever() -> None:
    kept = [rule.expires_s and dt.timedelta(seconds=rule.expires_s).days for rule in DEFAULT_RULES]
    assert kept == [7, 30, 365, None]
