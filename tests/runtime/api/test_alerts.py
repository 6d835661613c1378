"""`start_alerts`: what is refused at the start, and a system with alerts."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from bench.window_rows import many_rows
from callboard import Context, System, start
from callboard.actors.alerts.files import AlertFiles
from callboard.actors.alerts.messages import ALERT_MANAGER, AlertsView, QueryAlerts
from callboard.actors.alerts.routing import AlertRoute, NotificationPlan, Receiver
from callboard.actors.alerts.rules import AlertRule, RuleGroup
from callboard.actors.alerts.settings import AlertSettings
from callboard.actors.alerts.states import Alert
from callboard.actors.alerts.storage import read_rows
from callboard.actors.metrics.ports import Sample
from callboard.actors.metrics.tiers.worker import RunTiers
from callboard.messages.core.errors import ActorNotFound, NameTaken, SpecError, UsageError
from callboard.messages.core.yaml_fields import FilesRefused
from callboard.runtime.api.alerts import alert_files, reload_alerts, start_alerts
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.stores.choose import read_model_store
from tests.runtime.api.test_tiers import MINUTE_NS, committed, days_ago
from tests.runtime.delivery.http_server import until


class High:
    """Every expression is true."""

    def check(self, expression: str) -> None:
        """It knows everything."""

    async def instant(self, expression: str, at_ns: int) -> tuple[Sample, ...]:
        return (Sample((), 1.0),)


def high(ctx: Context) -> Any:
    return High()


async def test_a_system_has_the_rules_of_callboard_and_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(
        "groups: [{name: mine, interval: 1s, rules: [{alert: Mine, expr: x > 1}]}]\n"
        "route: {receiver: log, group_wait: 0s}"
    )
    options: dict[str, Any] = {"store": str(tmp_path / "a.db"), "make_evaluator": high}
    with caplog.at_level(logging.INFO, logger="callboard.alerts.log"):
        async with start(engine="inline", hosts=1) as system:
            ref = await start_alerts(system, alert_files([path]), **options)
            with pytest.raises(NameTaken):
                await start_alerts(system, **options)
            await until(lambda: "FIRING Mine" in caplog.text)
            assert await system.lookup(ALERT_MANAGER) == ref
            view = await ref.ask(QueryAlerts())
    assert {rule.group for rule in view.rules} == {"mine", "callboard"}
    assert [alert.name for alert in view.alerts if alert.group == "mine"] == ["Mine"]


RULES = """
groups:
  - name: mine
    interval: 1s
    rules:
      - {alert: Gone, expr: absent(no_such_metric)}
      - {alert: Nothing, expr: no_such_metric > 1}
      - {alert: Fine, expr: "increase(done_total[5m]) > 1e9"}
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_alerts_over_the_metrics_of_the_system_in_one_store(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(RULES)
    postgres = kind == "postgres"
    store = request.getfixturevalue("postgres_url") if postgres else str(tmp_path / "metrics.db")
    async with start(engine="inline", hosts=1, metrics=store, alerts=False) as system:
        system.meter.count("done_total")
        ref = await start_alerts(system, alert_files([path]), defaults=False)
        seen: list[AlertsView] = []

        async def is_evaluated() -> bool:
            seen.append(await ref.ask(QueryAlerts()))
            return all(rule.state != "unknown" for rule in seen[-1].rules)

        async with asyncio.timeout(20.0):
            while not await is_evaluated():
                pass
        view = seen[-1]
        with pytest.raises(NameTaken, match="alert manager already"):
            await start_alerts(system)
    assert [alert.name for alert in view.alerts] == ["Gone"]
    states = {rule.name: (rule.state, rule.missing) for rule in view.rules}
    assert states["Nothing"] == ("no_data", ("no_such_metric",))
    assert states["Gone"] == ("ok", ())
    models = read_model_store(store)
    models.open()
    rows, damaged = read_rows(models)
    models.close()
    assert (damaged, [row.name for row in rows if isinstance(row, Alert)]) == ([], ["Gone"])


async def test_a_system_without_metrics_has_no_alerts(tmp_path: Path) -> None:
    async with start(engine="inline", hosts=1) as system:
        with pytest.raises(UsageError, match="keeps no metrics"):
            await start_alerts(system)


async def test_what_is_refused_at_the_start(tmp_path: Path) -> None:
    wrong = AlertFiles(
        groups=(RuleGroup(name="g", rules=(AlertRule(name="A", expression="x +"),)),)
    )
    receivers = (Receiver("r", "webhook", "nowhere"),)
    plan = NotificationPlan(receivers=receivers, route=AlertRoute(receiver="r"))
    store = str(tmp_path / "a.db")
    async with start(engine="inline", hosts=1) as system:
        for files, url in ((wrong, store), (AlertFiles(plan=plan), store), (None, "odd://x")):
            with pytest.raises(SpecError):
                await start_alerts(system, files, store=url, make_evaluator=high)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        alert_files([tmp_path / "none.yml"])
    path = tmp_path / "a.yml"
    path.write_bytes(b"\xff\xff")
    with pytest.raises(UsageError, match="UTF-8"):
        alert_files([path])
    path.write_text("groups: 3")
    with pytest.raises(FilesRefused, match=r"a\.yml:1:"):
        alert_files([path])


# --- the setting ----------------------------------------------------------------------------


async def view_of(system: System) -> AlertsView:
    view = await (await system.lookup(ALERT_MANAGER)).ask(QueryAlerts())
    return AlertsView(**view.__dict__)


async def test_metrics_that_outlive_a_system_have_the_rules_of_callboard(tmp_path: Path) -> None:
    url = str(tmp_path / "m.db")
    async with start(engine="inline", hosts=1, metrics=url) as system:
        assert {rule.group for rule in (await view_of(system)).rules} == {"callboard"}
    for options in ({"metrics": url, "alerts": False}, {"metrics": "memory:"}, {}):
        async with start(engine="inline", hosts=1, **options) as system:
            with pytest.raises(ActorNotFound):
                await view_of(system)
    async with start(engine="inline", hosts=1, metrics="memory:", alerts=True) as system:
        assert (await view_of(system)).rules


async def test_the_files_of_the_setting_are_read_and_reloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "rules.yml"
    path.write_text(RULES)
    chosen = AlertSettings(files=["rules.yml"], defaults=False, store="alerts.db")
    options: Any = {"engine": "inline", "hosts": 1, "metrics": "m.db", "alerts": chosen}
    async with start(**options) as system:
        view = await view_of(system)
        assert [rule.name for rule in view.rules] == ["Gone", "Nothing", "Fine"]
        assert view.files == (str(path),)
        path.write_text("groups: [{name: x, rules: [{alert: New, expr: x > 1}]}]")
        done = await reload_alerts(system, view.files)
        assert done.rules == 1
        path.write_text("groups: 1")
        with pytest.raises(FilesRefused, match=r"rules\.yml:1"):
            await reload_alerts(system, [path])
        for wrong in ([], [path] * 101):
            with pytest.raises(UsageError, match="cannot be reloaded"):
                await reload_alerts(system, wrong)
        assert [rule.name for rule in (await view_of(system)).rules] == ["New"]
    assert (tmp_path / "alerts.db").exists()


@pytest.mark.parametrize("said", [3, "", [3], {"files": 1}, [""]])
def test_a_wrong_setting(said: Any) -> None:
    with pytest.raises(SpecError, match="setting alerts"):
        Settings(engine="inline", metrics="memory:", alerts=said)


def test_the_setting_needs_metrics_and_has_a_text() -> None:
    with pytest.raises(SpecError, match="setting alerts"):
        Settings(engine="inline", alerts=True)
    read = Settings.from_words(["metrics=memory:", "alerts=no"], {})
    assert read.alerts is False
    read = Settings.from_words(["metrics=memory:", f"alerts=a.yml{os.pathsep}b.yml"], {})
    assert isinstance(read.alerts, AlertSettings)
    assert read.alerts.files == (os.path.abspath("a.yml"), os.path.abspath("b.yml"))  # noqa: PTH100


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_rules_see_windows_that_have_moved_into_segments(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    postgres = kind == "postgres"
    store = request.getfixturevalue("postgres_url") if postgres else str(tmp_path / "metrics.db")
    rows = days_ago(many_rows(2, 60, 4), 3)
    committed(store, rows)
    path = tmp_path / "rules.yml"
    expression = f"max_over_time({rows.series[0].name}[7d]) > -1e300"
    path.write_text(
        f"groups: [{{name: g, interval: 1s, rules: [{{alert: Old, expr: '{expression}'}}]}}]"
    )
    options: Any = {"metrics": store, "metrics_objects": str(tmp_path / "objects")}
    # Without metrics of its own, whose coarser windows say that older ones were rolled up, too.
    options |= {"metrics_s": 0.0, "alerts": AlertSettings(files=[path], defaults=False)}
    async with start(engine="inline", hosts=1, **options) as system:
        moved = await system.ask(RunTiers(), await system.lookup("metric-tiers"))
        assert (moved.rows, await stored_rows(system)) == (120, 0)
        async with asyncio.timeout(60.0):
            while not (view := await view_of(system)).alerts:
                pass
        wanted = await system.metrics.evaluator.instant(expression, round(view.at * 1e9))
        assert len(view.alerts) == len(wanted) > 0
        assert [rule.state for rule in view.rules if rule.group == "g"] == ["ok"]


async def stored_rows(system: System) -> int:
    ever = (-(2**62), 2**62)
    return len(await system.metrics.storage.windows((), MINUTE_NS, *ever, 10**6))
