"""The alert manager on a host that is killed with -9: it comes back, and notifies nobody twice."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any, Final

import pytest

from callboard import System, start
from callboard.actors.alerts.files import read_files
from callboard.actors.alerts.messages import ALERT_MANAGER, AlertsView, QueryAlerts
from callboard.messages.core.errors import CallboardError
from callboard.runtime.api.alerts import reload_alerts, start_alerts
from callboard.runtime.api.inside import root_of
from tests.runtime.delivery.http_server import Server, serving, until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]

DEADLINE_S: Final = 60.0
RULES: Final = """
groups:
  - name: g
    interval: 1s
    rules: [{alert: Gone, expr: absent(no_such_metric)}]
receivers: [{name: hook, webhook_configs: [{url: "URL"}]}]
route: {receiver: hook, group_wait: 0s}
"""


async def view_of(ref: Any, after: float) -> AlertsView:
    """A view that the manager made after some time; its host may be dying."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                view = await ref.ask(QueryAlerts())
            except CallboardError:
                view = None
            if view is not None and view.at > after and view.alerts:
                return AlertsView(**view.__dict__)
            await asyncio.sleep(0.05)


async def kill(system: System, slot: int) -> None:
    process: Any = root_of(system).table.slots[slot].process
    await process.ping()
    os.kill(int(process.pid), signal.SIGKILL)


async def test_alerts_survive_the_death_of_their_host(tmp_path: Path) -> None:
    store = str(tmp_path / "metrics.db")
    async with (
        serving() as server,
        start(
            engine="ray", name="alerts", hosts=1, journal="off", metrics=store, alerts=False
        ) as system,
    ):
        files = read_files([("rules.yml", RULES.replace("URL", f"{server.url}/hook"))])
        ref = await start_alerts(system, files, defaults=False, host=1)
        await until(lambda: bool(server.got), DEADLINE_S)
        first = await view_of(ref, 0.0)
        for _ in range(2):
            await kill(system, 1)
            first, again = await view_of(ref, first.at + 2.0), first
            assert first.alerts[0].fired_at == again.alerts[0].fired_at
        assert keys_of(server) == 1, "one notification, perhaps sent again with its key"


@pytest.mark.soak
async def test_reloaded_rules_survive_the_death_of_their_host(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES.replace("URL", "http://127.0.0.1:9/"))
    store = str(tmp_path / "metrics.db")
    async with start(
        engine="ray", name="reloaded", hosts=1, journal="off", metrics=store, alerts=rules
    ) as system:
        ref = await system.lookup(ALERT_MANAGER)
        first = await view_of(ref, 0.0)
        assert first.files == (str(rules),)
        rules.write_text(rules.read_text().replace("Gone", "Away"))
        await reload_alerts(system, first.files)
        await kill(system, 1)
        async with asyncio.timeout(DEADLINE_S):
            while "Away" not in {alert.name for alert in (await view_of(ref, first.at)).alerts}:
                pass
        view = await view_of(ref, first.at)
    assert {rule.name for rule in view.rules if rule.group == "g"} == {"Away"}
    assert [alert.state for alert in view.alerts if alert.name == "Gone"] in ([], ["resolved"])


def keys_of(server: Server) -> int:
    return len({received.headers["idempotency-key"] for received in server.got})
