"""Alerts of a detached system: commands reach its manager through the root, without the driver."""

import json
from pathlib import Path

import pytest

from .cluster import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(180)]

STARTS = """
async def main():
    async with start(
        name="watched", detached=True, address=ADDRESS, hosts=1, journal="off",
        metrics=os.environ["FOLDER"] + "/m.db", alerts=os.environ["FOLDER"] + "/rules.yml",
    ) as system:
        say(up=True)

asyncio.run(main())
"""
RULES = "groups: [{name: g, interval: 1s, rules: [{alert: NAME, expr: absent(no_such_metric)}]}]"


def test_alerts_are_listed_silenced_and_reloaded_without_a_driver(
    cluster: Cluster, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES.replace("NAME", "Gone"))
    assert cluster.said(STARTS, FOLDER=str(tmp_path)) == {"up": True}
    place = ("--name", "watched")
    try:
        while not (ended := cluster.callboard("alerts", *place, "--json")).returncode:
            assert "callboard" in ended.stdout, "the rules for Callboard itself are there"
        (source,) = json.loads(ended.stdout)["sources"]
        assert source["source"] == "detached system watched"
        assert [alert["name"] for alert in source["alerts"]] == ["Gone"]
        ended = cluster.callboard("alerts", "silence", "alertname=Gone", *place, "--json")
        assert ended.returncode == 0, ended.stderr
        name = json.loads(ended.stdout)["id"]
        ended = cluster.callboard("alerts", "unsilence", name, *place)
        assert ended.returncode == 0, ended.stderr
        rules.write_text(RULES.replace("NAME", "Away"))
        ended = cluster.callboard("alerts", "reload", *place, "--json")
        assert json.loads(ended.stdout)["files"] == [str(rules)], ended.stderr
        ended = cluster.callboard("alerts", *place, "--json")
        (source,) = json.loads(ended.stdout)["sources"]
        assert {rule["name"] for rule in source["rules"] if rule["group"] == "g"} == {"Away"}
    finally:
        cluster.callboard("down", "watched")
