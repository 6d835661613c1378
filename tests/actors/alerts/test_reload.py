"""Rules that are replaced while they are evaluated: what stays, what ends, what is refused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.alerts.files import read_files
from callboard.actors.alerts.messages import AlertView
from callboard.actors.alerts.routing import Receiver
from callboard.actors.alerts.runner import AlertRunner
from callboard.actors.alerts.storage import read_rows
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import SpecError
from callboard.messages.core.yaml_fields import FilesRefused
from callboard.messages.storage.errors import StoreUnavailable
from callboard.runtime.stores.memory import MemoryReadModelStore
from tests.thoroughness import examples

from .scripted import Recorder, TableEvaluator, group, rule, sample, until

FILE: Final = """
groups:
  - name: g
    interval: 1s
    rules:
      - {alert: High, expr: load > %s}
      - {alert: %s, expr: other > 1}
receivers: [{name: hook, webhook_configs: [{url: "http://127.0.0.1:1/%s"}]}]
route: {receiver: hook, group_wait: 0s, group_interval: 1s, group_by: [alertname]}
"""
OWN: Final = group(rule("Own", expression="own > 1"), name="own", interval_s=1.0)


class Receivers(dict[str, Recorder]):
    """Makes a recorder for each receiver, by its URL."""

    def make(self, receivers: Sequence[Receiver]) -> dict[str, Any]:
        if any("wrong" in each.url for each in receivers):
            raise SpecError("the URL is wrong.")
        return {each.name: self.setdefault(each.url, Recorder()) for each in receivers}

    def got(self, path: str) -> list[tuple[str, list[str]]]:
        url = f"http://127.0.0.1:1/{path}"
        return self[url].names() if url in self else []


def text(limit: int = 1, other: str = "Other", path: str = "a") -> list[tuple[str, str]]:
    return [("rules.yml", FILE % (limit, other, path))]


@contextlib.asynccontextmanager
async def running(
    store: MemoryReadModelStore, receivers: Receivers, origin: str = "start"
) -> AsyncIterator[AlertRunner]:
    true = (sample(host="a"),)
    files = read_files(text())
    runner = AlertRunner(
        files.groups,
        files.plan,
        store=store,
        evaluator=TableEvaluator({"load > 1": true, "load > 2": true, "other > 1": true}),
        make_targets=receivers.make,
        owner="test",
        defaults=(OWN,),
        origin=origin,
        names=files.names,
        retry=Backoff(min_s=0.0, max_s=0.001),
    )
    await runner.start()
    try:
        yield runner
    finally:
        await runner.close()


def alerts(runner: AlertRunner) -> dict[str, AlertView]:
    return {alert.name: alert for alert in runner.view().alerts}


async def both_fire(runner: AlertRunner) -> dict[str, AlertView]:
    def fire() -> bool:
        return [alert.state for alert in runner.view().alerts] == ["firing", "firing"]

    await until(fire)
    return alerts(runner)


async def test_unchanged_rules_go_on_and_alerts_of_rules_that_are_gone_resolve() -> None:
    store, receivers = MemoryReadModelStore(), Receivers()
    async with running(store, receivers) as runner:
        before = await both_fire(runner)
        assert runner.view().files == ("rules.yml",)
        done = await runner.reload([("new.yml", text(2, "Third", "b")[0][1])])
        assert (done.rules, done.receivers) == (3, 1), "its own rule stays"
        after = alerts(runner)
        assert after["High"].fired_at == before["High"].fired_at
        assert (after["High"].state, after["Other"].state) == ("firing", "resolved")
        rules = {view.name: view for view in runner.view().rules}
        assert set(rules) == {"Own", "High", "Third"}
        assert (rules["High"].expression, runner.view().files) == ("load > 2", ("new.yml",))
        await until(lambda: alerts(runner).get("Third", before["High"]).name == "Third")
        await until(lambda: ("resolved", ["Other"]) in receivers.got("b"))
    states = [state for state, names in receivers.got("a") + receivers.got("b") if "High" in names]
    assert states == ["firing"], "nobody hears again of what goes on"


async def test_what_is_wrong_is_refused_with_every_problem_and_the_last_rules_go_on() -> None:
    store, receivers = MemoryReadModelStore(), Receivers()
    async with running(store, receivers) as runner:
        before = await both_fire(runner)
        view = runner.view()
        bad = [("a.yml", "groups: [{name: own, rules: [{alert: A, for: x}]}]"), ("b.yml", "[")]
        with pytest.raises(FilesRefused) as caught:
            await runner.reload(bad)
        assert len(caught.value.details["problems"]) == 3
        for wrong in (text(path="wrong"), [("a.yml", "groups: [{name: own}]")]):
            with pytest.raises(SpecError):
                await runner.reload(wrong)
        assert (alerts(runner), runner.view().rules) == (before, view.rules)
        assert runner.view().files == ("rules.yml",)
    assert "ReloadedFiles" not in {type(row).__name__ for row in read_rows(store)[0]}


async def test_what_was_reloaded_survives_a_restart_until_the_system_starts_again() -> None:
    store, receivers = MemoryReadModelStore(), Receivers()
    async with running(store, receivers) as runner:
        await runner.reload(text(2, "Third"))
    async with running(store, receivers) as runner:
        assert [view.name for view in runner.view().rules] == ["Own", "High", "Third"]
    for _ in range(2):
        async with running(store, receivers, "another start") as runner:
            assert [view.name for view in runner.view().rules] == ["Own", "High", "Other"]
            await both_fire(runner)
    assert "ReloadedFiles" not in {type(row).__name__ for row in read_rows(store)[0]}


async def test_a_manager_whose_store_is_away_refuses() -> None:
    class Away(MemoryReadModelStore):
        def position(self, model: str) -> int:
            raise StoreUnavailable("away")

    async with running(Away(), Receivers()) as runner:
        with pytest.raises(StoreUnavailable):
            await runner.reload(text())


@settings(max_examples=examples(60))
@given(texts=st.lists(st.text(max_size=40) | st.sampled_from([text()[0][1], "groups: []"])))
def test_any_text_is_taken_or_refused(texts: list[str]) -> None:
    async def reload() -> None:
        async with running(MemoryReadModelStore(), Receivers()) as runner:
            before = runner.view().rules
            files = [(f"{number}.yml", each) for number, each in enumerate(texts)]
            try:
                await runner.reload(files)
            except (FilesRefused, SpecError):
                assert runner.view().rules == before

    asyncio.run(reload())
