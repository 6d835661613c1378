"""A process that evaluates rules is killed with -9, again and again, on one store."""

import asyncio
import json
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from tests.runtime.delivery.http_server import serving, until
from tests.thoroughness import examples

KILLS: Final = 8
"""In `make soak`; a quarter of them in `make test`."""
HOSTS: Final = 5
INTERVAL_S: Final = 1.0
EVALUATING: Final = """
import asyncio, os, pathlib, sys, time
from callboard.actors.alerts import rules
rules.INTERVAL_S_MIN = 0.01
from callboard.actors.alerts.routing import NotificationPlan, Receiver, AlertRoute
from callboard.actors.alerts.runner import AlertRunner
from callboard.actors.metrics.ports import Sample
from callboard.messages.control.spec import Backoff
from callboard.runtime.delivery.targets import make_targets
from callboard.runtime.stores.sqlite import SqliteReadModelStore

path, url, fence, stop = sys.argv[1], sys.argv[2], int(sys.argv[3]), pathlib.Path(sys.argv[4])

class Blinking:
    def check(self, expression):
        pass

    async def instant(self, expression, at_ns):
        if stop.exists():
            return ()
        hosts = [h for h in range(5) if (at_ns // 200_000_000 + h) % 4]
        return tuple(Sample((("host", str(h)),), 1.0) for h in hosts)

async def main():
    plan = NotificationPlan(
        receivers=(Receiver("hook", "webhook", url),),
        route=AlertRoute(
            receiver="hook", group_by=("host",), group_wait_s=0.0, group_interval_s=1.0,
            repeat_interval_s=1.0,
        ),
    )
    group = rules.RuleGroup(
        name="g", rules=(rules.AlertRule(name="Blink", expression="x"),), interval_s=0.05
    )
    runner = AlertRunner(
        (group,), plan, store=SqliteReadModelStore(path), evaluator=Blinking(),
        make_targets=make_targets, owner="child", fence=fence << 22,
        retry=Backoff(min_s=0.01, max_s=0.1),
    )
    await runner.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_kill_9_notifies_nobody_twice_under_another_key_and_forgets_no_end(
    tmp_path: Path, root: Path
) -> None:
    chance = random.Random(7)
    stop = tmp_path / "stop"
    async with serving() as server:
        kills = examples(KILLS)
        for number in range(1, kills + 2):
            arguments = (str(tmp_path / "a.db"), f"{server.url}/hook", str(number), str(stop))
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", EVALUATING, *arguments, cwd=root
            )
            try:
                enough = len(server.got) + chance.randint(HOSTS, 4 * HOSTS)
                if number <= kills:
                    await until(lambda: len(server.got) >= enough)  # noqa: B023 - awaited here
                else:
                    stop.touch()
                    await until(lambda: not any(_firing(server.got).values()))
            finally:
                child.kill()
                await child.wait()
        got = [received.data for received in server.got]
    contents: dict[str, set[str]] = defaultdict(set)
    begun: dict[str, list[str]] = defaultdict(list)
    for data in got:
        key = data["notificationKey"]
        contents[key].add(json.dumps(data, sort_keys=True))
        begun[key].append(data["receiver"])
    assert all(len(each) == 1 for each in contents.values()), "one key, one content"
    repeats = sum(len(each) - 1 for each in begun.values())
    assert repeats <= kills * HOSTS, "only what was under way at a kill"
    assert len(contents) > kills
    headers = [received.headers["idempotency-key"] for received in server.got]
    assert headers == [data["notificationKey"] for data in got]


def _firing(got: list[Any]) -> dict[str, set[str]]:
    """For each group what its receiver takes for firing."""
    firing: dict[str, set[str]] = defaultdict(set)
    for received in got:
        for alert in received.data["alerts"]:
            group = firing[received.data["groupKey"]]
            if alert["status"] == "firing":
                group.add(alert["fingerprint"])
            else:
                group.discard(alert["fingerprint"])
    return firing
