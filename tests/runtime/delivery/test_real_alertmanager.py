"""A real Alertmanager, where there is one: it fires, groups and resolves what Callboard sends.

Debian has it as the package `prometheus-alertmanager`.
"""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from callboard.actors.alerts.routing import AlertRoute, NotificationPlan, Receiver
from callboard.actors.alerts.runner import AlertRunner
from callboard.messages.control.spec import Backoff
from callboard.runtime.delivery.targets import make_targets
from callboard.runtime.stores.memory import MemoryReadModelStore
from tests.actors.alerts.scripted import TableEvaluator, group, rule, sample

from .http_server import Server, serving, until

PROGRAM: Final = "prometheus-alertmanager"
pytestmark = [
    pytest.mark.skipif(not shutil.which(PROGRAM), reason="no Alertmanager (Debian has it)"),
    pytest.mark.timeout(120),
]
READY_S: Final = 60.0
ODD: Final = 'b "x" \\ ü\n'


class Alertmanager:
    """The program, on a port and a folder that stay when it is started again."""

    def __init__(self, folder: Path, hook: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port: Final[int] = found.getsockname()[1]
        self.folder: Final = folder
        route = {
            "receiver": "hook", "group_by": ["alertname", "team"], "group_wait": "0s",
            "group_interval": "1s", "repeat_interval": "1h",
        }  # fmt: skip
        receivers = [{"name": "hook", "webhook_configs": [{"url": hook}]}]
        self.folder.joinpath("am.yml").write_text(
            json.dumps({"route": route, "receivers": receivers})
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it until the end, which it is asked for: it stores what it has notified."""
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            f"--config.file={self.folder / 'am.yml'}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
            "--log.level=error",
            stdout=subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(READY_S):
                while not await asyncio.to_thread(self.is_ready):
                    assert process.returncode is None, "it has refused its configuration"
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(10.0):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    def is_ready(self) -> bool:
        try:
            self.get("/-/ready")
        except OSError:
            return False
        return True

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=5.0) as answer:
            body: bytes = answer.read()
        return body

    async def alerts(self) -> dict[tuple[str, str], Any]:
        """The alerts that fire there, by name and host."""
        listed = json.loads(await asyncio.to_thread(self.get, "/api/v2/alerts"))
        return {(each["labels"]["alertname"], each["labels"]["host"]): each for each in listed}


@contextlib.asynccontextmanager
async def evaluating(evaluator: TableEvaluator, url: str) -> AsyncIterator[AlertRunner]:
    plan = NotificationPlan(
        receivers=(Receiver("am", "alertmanager", url),),
        route=AlertRoute(
            receiver="am", group_wait_s=0.0, group_interval_s=1.0, repeat_interval_s=1.0
        ),
    )
    high = rule(
        labels={"team": "{{ $labels.host }}s"}, annotations={"summary": "it is {{ $value }}"}
    )
    rules = group(high, rule("Low", expression="low > 1"), interval_s=1.0)
    runner = AlertRunner(
        (rules,), plan, store=MemoryReadModelStore(), evaluator=evaluator,
        make_targets=make_targets, owner="test", retry=Backoff(min_s=0.2, max_s=1.0),
    )  # fmt: skip
    await runner.start()
    try:
        yield runner
    finally:
        await runner.close()


def notified(server: Server) -> dict[tuple[str, str], list[str]]:
    """For each alert the states that the hook of Alertmanager has heard of."""
    states: dict[tuple[str, str], list[str]] = {}
    for received in server.got:
        for alert in received.data["alerts"]:
            labels = alert["labels"]
            heard = states.setdefault((labels["alertname"], labels["host"]), [])
            if heard[-1:] != [alert["status"]]:
                heard.append(alert["status"])
    return states


async def test_alerts_fire_are_grouped_and_resolve_through_a_restart(tmp_path: Path) -> None:
    evaluator = TableEvaluator(
        {"load > 1": (sample(host="a"), sample(host=ODD)), "low > 1": (sample(host="a"),)}
    )
    async with serving() as server:
        real = Alertmanager(tmp_path, f"{server.url}/hook")
        a, odd, low = ("High", "a"), ("High", ODD), ("Low", "a")

        def heard(**wanted: Any) -> Callable[[], bool]:
            names = {"a": a, "odd": odd, "low": low}
            return lambda: all(notified(server).get(names[k]) == v for k, v in wanted.items())

        async with evaluating(evaluator, real.url) as runner:
            async with real.running():
                await until(heard(a=["firing"], odd=["firing"], low=["firing"]), READY_S)
                found = await real.alerts()
                assert set(found) == {a, odd, low}
                assert found[a]["annotations"] == {"summary": "it is 2"}
                assert found[odd]["labels"]["team"] == f"{ODD}s"
                groups = {tuple(sorted(each.data["groupLabels"].items())) for each in server.got}
                assert (("alertname", "High"), ("team", "as")) in groups
                assert (("alertname", "Low"),) in groups
            # It is away, and forgets all alerts. One of them ends meanwhile.
            evaluator.table["load > 1"] = (sample(host="a"),)
            failed = runner.view().counts["attempts_failed"]
            await until(lambda: runner.view().counts["attempts_failed"] > failed + 1, READY_S)
            async with real.running():
                await until(heard(odd=["firing", "resolved"]), READY_S)
                assert heard(a=["firing"], low=["firing"])(), "no alarm about a restart"
                evaluator.table.clear()
                ended = ["firing", "resolved"]
                await until(heard(a=ended, odd=ended, low=ended), READY_S)
                assert not await real.alerts()
                assert runner.view().counts.get("given_up", 0) == 0
