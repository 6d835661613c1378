"""`callboard alerts`: from a store, from a running system, and its files."""

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.alerts.core import AlertCore
from callboard.actors.alerts.durations import NS
from callboard.actors.alerts.encoding import MODEL
from callboard.actors.alerts.routing import NotificationPlan
from callboard.actors.alerts.rules import AlertRule, RuleGroup
from callboard.actors.alerts.table import Failed, Found
from callboard.runtime.cli.outcome import ExitCode
from callboard.runtime.stores.sqlite import SqliteReadModelStore
from tests.runtime.delivery.http_server import Server, serving

Run = Callable[..., Any]
RULES = (
    AlertRule(
        name="High",
        expression="load > 1",
        labels={"severity": "critical"},
        annotations={"summary": "load is {{ $value }}"},
    ),
    AlertRule(name="Odd", expression="nothing > 1"),
    AlertRule(name="Broken", expression="x > 1"),
)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of a table is wrapped."""
    monkeypatch.setenv("COLUMNS", "240")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with an alert that fires, a rule without data, and one that fails."""
    group = RuleGroup(name="g", rules=RULES)
    core = AlertCore((group,), NotificationPlan())
    high, odd, broken = map(group.rule_id, RULES)
    now_ns = time.time_ns() - 90 * NS
    results: dict[str, Found | Failed] = {
        high: Found({(("host", "a\x1b[31m"),): 2.5}),
        odd: Found({}, missing=("nothing",)),
        broken: Failed("the store is away"),
    }
    core.evaluated(group, results, now_ns)
    core.advance(now_ns)
    made = tmp_path / "metrics.db"
    models = SqliteReadModelStore(made, durability="off")
    models.open()
    assert models.apply(MODEL, 0, 1, core.changes())
    models.close()
    return made


def test_alerts_of_a_store(callboard: Run, store: Path) -> None:
    ended = callboard("alerts", "--store", str(store))
    assert ended.code == ExitCode.FAILED, "an alert fires"
    for text in ("1 alert firing", "High", "load is 2.5", "1 min", "nothing", "store is away"):
        assert text in ended.out, text
    assert "\x1b[31m" not in ended.out
    ended = callboard("alerts", "--store", str(store), "--json", "--state", "pending")
    (source,) = json.loads(ended.out)["sources"]
    assert source["alerts"] == []
    assert {rule["name"]: rule["state"] for rule in source["rules"]} == {
        "High": "ok", "Odd": "no_data", "Broken": "failed",
    }  # fmt: skip


def test_a_silence_changes_the_exit_code_until_it_is_ended(callboard: Run, store: Path) -> None:
    url = str(store)
    options = ("--for", "1h", "--author", "me", "--comment", "maintenance", "--store", url)
    ended = callboard("alerts", "silence", "host=~a.*", "severity=critical", *options, "--json")
    made = json.loads(ended.out)
    assert (made["author"], len(made["alerts"])) == ("me", 1)
    ended = callboard("alerts", "--store", url)
    assert ended.code == ExitCode.OK
    assert "firing (silenced)" in ended.out
    assert "maintenance" in ended.out
    ended = callboard("alerts", "unsilence", made["id"], "--store", url)
    assert (ended.code, made["id"] in ended.out) == (ExitCode.OK, True)
    assert callboard("alerts", "--store", url).code == ExitCode.FAILED
    ended = callboard("alerts", "unsilence", made["id"], "--store", url)
    assert ended.code == ExitCode.USAGE


@pytest.mark.parametrize(
    "arguments",
    [
        ("silence", "host"),
        ("silence", "host=a", "--for", "soon"),
        ("silence", "host=a", "--for", "0"),
        ("silence",),
        ("unsilence", "none"),
    ],
)
def test_a_wrong_silence(callboard: Run, store: Path, arguments: tuple[str, ...]) -> None:
    ended = callboard("alerts", *arguments, "--store", str(store))
    assert ended.code == ExitCode.USAGE
    assert "Error" in ended.err


def test_a_store_that_is_not_there(callboard: Run, tmp_path: Path) -> None:
    ended = callboard("alerts", "--store", str(tmp_path / "none.db"))
    assert ended.code == ExitCode.USAGE
    assert not (tmp_path / "none.db").exists()


def test_the_newest_store_is_the_default(
    callboard: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBOARD_HOME", str(tmp_path / "home"))
    # The systems of other tests are elsewhere.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = callboard("alerts")
    assert (ended.code, "--store" in ended.err) == (ExitCode.USAGE, True)
    folder = tmp_path / "home" / "journals"
    folder.mkdir(parents=True)
    store.rename(folder / "m.db.metrics")
    ended = callboard("alerts")
    assert (ended.code, "m.db.metrics" in ended.out) == (ExitCode.FAILED, True)
    ended = callboard("alerts", "reload")
    assert (ended.code, "no system that runs here" in ended.err) == (ExitCode.USAGE, True)


# --- a running system ---------------------------------------------------------------------------

DRIVER = """
import asyncio, sys
from pathlib import Path
from callboard.actors.alerts.files import read_files
from callboard.actors.metrics.ports import Sample
from callboard.runtime.api.alerts import alert_files, start_alerts

class Evaluator:
    def check(self, expression):
        pass

    async def instant(self, expression, at_ns):
        return (Sample((("host", "a"),), 3.0),)

def make(ctx):
    return Evaluator()

async def main(system):
    files = alert_files(["rules.yml"])
    await start_alerts(
        system, files, store="alerts.db", make_evaluator=make, defaults=False
    )
    print("up", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
"""


def test_alerts_of_a_running_system(
    callboard: Run, start: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    (folder / "driver.py").write_text(DRIVER)
    (folder / "rules.yml").write_text(
        "groups: [{name: g, interval: 1s, rules: [{alert: High, expr: x > 1}]}]"
    )
    system = start("run", "driver:main", "--engine", "inline", "--hosts", "1")
    system.wait_for("up")
    deadline_s = time.monotonic() + 40.0
    while not (ended := callboard("alerts", "--json")).code and time.monotonic() < deadline_s:
        pass  # The first evaluation is at the next whole second.
    (source,) = json.loads(ended.out)["sources"]
    assert source["source"] == f"process {system.pid}"
    assert source["alerts"][0]["name"] == "High"
    ended = callboard("alerts", "silence", "host=a", "--json")
    name = json.loads(ended.out)["id"]
    assert "firing (silenced)" in callboard("alerts").out
    assert callboard("alerts", "unsilence", name).code == ExitCode.OK
    assert callboard("alerts", "unsilence", name).code == ExitCode.USAGE
    rules = folder / "rules.yml"
    rules.write_text(rules.read_text().replace("High", "Higher"))
    ended = callboard("alerts", "reload", "--json")
    assert json.loads(ended.out) == {"files": [str(rules)], "rules": 1, "receivers": 1}
    rules.write_text("groups: [{name: g, rules: [{alert: A, expr: 'x >', for: y}]}]")
    ended = callboard("alerts", "reload")
    assert (ended.code, "2 problems" in ended.err) == (ExitCode.USAGE, True)
    (source,) = json.loads(callboard("alerts", "--json").out)["sources"]
    assert [rule["name"] for rule in source["rules"]] == ["Higher"]
    assert callboard("alerts", "reload", str(folder)).code == ExitCode.USAGE
    other = folder / "other.yml"
    other.write_text("groups: [{name: g, interval: 1s, rules: [{alert: High, expr: x > 1}]}]")
    ended = callboard("alerts", "reload", str(other))
    assert (ended.code, f"1 rule, 1 receiver from {other}" in ended.out) == (ExitCode.OK, True)
    while not callboard("alerts").code and time.monotonic() < deadline_s:
        pass
    assert system.end(text="\n").code == 0
    ended = callboard("alerts", "--store", str(folder / "alerts.db"))
    assert (ended.code, "High" in ended.out) == (ExitCode.FAILED, True)


# --- files -----------------------------------------------------------------------------------


def test_rule_files_are_checked(callboard: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yml", tmp_path / "bad.yml"
    good.write_text("groups: [{name: g, rules: [{alert: A, expr: x > 1}]}]")
    bad.write_text("groups: [{name: b, rules: [{alert: A, expr: 'x >', for: 1}]}]")
    ended = callboard("alerts", "rules", str(good))
    assert (ended.code, "1 rule in 1 group, 1 receiver" in ended.out) == (ExitCode.OK, True)
    assert json.loads(callboard("alerts", "rules", str(good), "--json").out)["rules"] == 1
    ended = callboard("alerts", "rules", str(good), str(bad), str(tmp_path))
    assert ended.code == ExitCode.USAGE
    ended = callboard("alerts", "rules", str(good), str(bad))
    assert ended.code == ExitCode.USAGE
    assert "2 problems" in ended.err
    assert f"{bad.name}:1:" in ended.err
    assert callboard("alerts", "rules").code == ExitCode.USAGE
    assert callboard("alerts", "rules", str(tmp_path / "none.yml")).code == ExitCode.USAGE
    bad.write_bytes(b"\xff\xfe\x00")
    assert callboard("alerts", "rules", str(bad)).code == ExitCode.USAGE


def test_the_rules_of_callboard_are_printed_as_a_file(callboard: Run, tmp_path: Path) -> None:
    ended = callboard("alerts", "rules", "--default")
    path = tmp_path / "default.yml"
    path.write_text(ended.out)
    assert "no problem" in callboard("alerts", "rules", str(path)).out


@pytest.fixture
def server() -> Iterator[Server]:
    """A receiver in a thread of its own: the command has the loop of this one."""
    begun, end = threading.Event(), asyncio.Event()
    made: list[Any] = []

    async def run() -> None:
        async with serving() as serves:
            made.extend([serves, asyncio.get_running_loop()])
            begun.set()
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert begun.wait(10.0)
    yield made[0]
    made[1].call_soon_threadsafe(end.set)
    thread.join(10.0)


def test_receivers_are_tried(callboard: Run, tmp_path: Path, server: Server) -> None:
    path = tmp_path / "plan.yml"
    path.write_text(
        "receivers:\n"
        f"- {{name: hook, webhook_configs: [{{url: '{server.url}/x'}}]}}\n"
        "- {name: gone, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}\n"
        "route: {receiver: hook}\n"
    )
    ended = callboard("alerts", "test", str(path))
    assert ended.code == ExitCode.FAILED
    assert "hook: delivered" in ended.out
    assert "gone: http://127.0.0.1:1 cannot be reached" in ended.out
    assert server.got[0].data["alerts"][0]["labels"]["alertname"] == "CallboardTest"
    ended = callboard("alerts", "test", str(path), "--receiver", "hook", "--json")
    assert (ended.code, json.loads(ended.out)) == (ExitCode.OK, {"receivers": {"hook": ""}})
    assert callboard("alerts", "test", str(path), "--receiver", "x").code == ExitCode.USAGE
