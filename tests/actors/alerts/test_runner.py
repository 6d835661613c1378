"""The shell of the core: moments, deadlines, the store, receivers that hang or refuse."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from callboard.actors.alerts.core import AlertCore
from callboard.actors.alerts.encoding import MODEL, OWNER, encode, key_of
from callboard.actors.alerts.evaluation import RuleEvaluation, next_moment_ns
from callboard.actors.alerts.grouping import Notification
from callboard.actors.alerts.matching import matcher
from callboard.actors.alerts.routing import AlertRoute, NotificationPlan, Receiver
from callboard.actors.alerts.rules import RuleGroup
from callboard.actors.alerts.runner import AlertRunner
from callboard.actors.alerts.silences import Silence
from callboard.actors.alerts.storage import AlertRows, read_rows
from callboard.actors.alerts.table import Change, Failed, Found
from callboard.actors.metrics.errors import QueryRefused
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import StoreUnavailable, WriterFenced
from callboard.runtime.stores.memory import MemoryReadModelStore

from .scripted import T0, Recorder, S, TableEvaluator, group, refused, rule, sample, until

FAST = Backoff(min_s=0.0, max_s=0.001)
PLAN = NotificationPlan(
    receivers=(Receiver("one"), Receiver("two")),
    route=AlertRoute(
        receiver="one",
        group_wait_s=0.0,
        routes=(AlertRoute(receiver="two", matchers=(matcher("host=b"),), group_wait_s=0.0),),
    ),
)


class Clock:
    """Wall time that begins short of a whole minute, and that a test can advance."""

    def __init__(self) -> None:
        self.now = T0 - 10_000_000 - time.monotonic_ns()

    def __call__(self) -> int:
        return self.now + time.monotonic_ns()


class Flaky(MemoryReadModelStore):
    """A store that can be away."""

    is_away = False

    def apply(self, *arguments: Any) -> bool:
        if self.is_away:
            raise StoreUnavailable("away")
        return super().apply(*arguments)

    def position(self, model: str) -> int:
        if self.is_away:
            raise StoreUnavailable("away")
        return super().position(model)


@contextlib.asynccontextmanager
async def running(
    evaluator: TableEvaluator,
    targets: dict[str, Any],
    *,
    groups: tuple[RuleGroup, ...] = (group(interval_s=1.0),),
    store: MemoryReadModelStore | None = None,
    clock: Callable[[], int] | None = None,
    **options: Any,
) -> AsyncIterator[AlertRunner]:
    runner = AlertRunner(
        groups, PLAN, store=store or MemoryReadModelStore(), evaluator=evaluator,
        make_targets=lambda _: {"one": Recorder(), "two": Recorder(), **targets},
        owner="test", now_ns=clock or Clock(), retry=FAST, **options,
    )  # fmt: skip
    await runner.start()
    try:
        yield runner
    finally:
        await runner.close()


def test_moments_are_whole_multiples_of_the_interval() -> None:
    assert next_moment_ns(60 * S, T0) == T0 + 60 * S
    assert next_moment_ns(60 * S, T0 - 1) == T0


async def test_an_alert_is_evaluated_stored_published_and_delivered() -> None:
    evaluator = TableEvaluator({"load > 1": (sample(host="a"),)})
    one, store, clock, news = Recorder(), MemoryReadModelStore(), Clock(), list[Change]()
    async with running(
        evaluator, {"one": one}, store=store, clock=clock, publish=news.extend
    ) as runner:
        await until(lambda: bool(one.got))
        expression, at_ns = evaluator.asked[0]
        assert (expression, at_ns % S) == ("load > 1", 0)
        assert one.names() == [("firing", ["High"])]
        assert [change.alert.state for change in news] == ["firing"]
        clock.now += 400 * S
        evaluator.table.clear()
        await until(lambda: len(one.got) == 2)
        view = runner.view()
    assert one.names()[1] == ("resolved", ["High"])
    assert [alert.state for alert in view.alerts] == ["resolved"]
    rows, _ = read_rows(store)
    assert {type(row).__name__ for row in rows} >= {"Alert", "AlertGroup", "RuleHealth", "Owner"}
    assert [reading for reading in runner.reading().counts.values() if reading < 0] == []


async def test_a_target_that_hangs_or_refuses_delays_no_other() -> None:
    class Hanging(Recorder):
        async def deliver(self, notification: Notification) -> None:
            await asyncio.Event().wait()

    evaluator = TableEvaluator({"load > 1": (sample(host="a"), sample(host="b"))})
    two = Recorder(fails=[refused(), RuntimeError("a defect"), refused(), None])
    async with running(evaluator, {"one": Hanging(), "two": two}) as runner:
        await until(lambda: bool(two.got))
        assert two.attempts == 4
        assert runner.view().undelivered >= 1


async def test_a_final_refusal_is_given_up_at_once_and_eight_attempts_otherwise() -> None:
    evaluator = TableEvaluator({"load > 1": (sample(host="a"), sample(host="b"))})
    one = Recorder(fails=[refused(is_final=True)] * 99)
    two = Recorder(fails=[refused()] * 99)
    async with running(evaluator, {"one": one, "two": two}) as runner:
        await until(lambda: runner.core.counts["given_up"] == 2)
        assert (one.attempts, two.attempts) == (1, 8)


async def test_rules_that_fail_hang_or_have_no_data_differ(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def hangs() -> Any:
        await asyncio.Event().wait()

    names = ("refused", "hangs", "defect", "twice", "none", "fine")
    table: dict[str, Any] = {
        "refused": QueryRefused("character 3: no"),
        "hangs": lambda _: hangs(),
        "defect": ValueError("odd"),
        "twice": (sample(__name__="a", host="x"), sample(__name__="b", host="x")),
        "fine": (sample(),),
    }
    evaluator = TableEvaluator(table, absent=("some_metric",))
    rules = group(*(rule(name.title(), expression=name) for name in names), interval_s=1.0)
    async with running(evaluator, {}, groups=(rules,), rule_s_max=0.05) as runner:
        await until(lambda: all(each.state != "unknown" for each in runner.view().rules))
        found = {each.expression: each for each in runner.view().rules}
    assert {name: found[name].state for name in names} == {
        "refused": "failed", "hangs": "failed", "defect": "failed", "twice": "failed",
        "none": "no_data", "fine": "ok",
    }  # fmt: skip
    assert found["none"].missing == ("some_metric",)
    assert "0.05 s" in found["hangs"].problem
    assert "ValueError: odd" in found["defect"].problem
    assert runner.core.counts["failures"] >= 4
    assert "the rule None of the group g has no data: there is no metric some_m" in caplog.text
    assert caplog.text.count("cannot be evaluated") == 4


async def test_rules_that_got_no_turn_have_failed() -> None:
    async def hangs() -> Any:
        await asyncio.Event().wait()

    evaluator = TableEvaluator({"x": lambda _: hangs()})
    rules = group(*(rule(str(n), expression="x") for n in range(60)), interval_s=1.0)
    evaluation = RuleEvaluation(evaluator, rule_s_max=0.3)
    results = await evaluation.group(rules, T0, frozenset())
    problems = [each.problem for each in results.values() if isinstance(each, Failed)]
    assert len(problems) == 60
    assert any("no turn" in problem for problem in problems)


async def test_a_second_threshold_is_asked_only_while_the_rule_fires() -> None:
    evaluator = TableEvaluator({"low": (sample(host="a"),)})
    rules = group(rule(keep_firing_while="low"))
    evaluation = RuleEvaluation(evaluator)
    name = rules.rule_id(rules.rules[0])
    assert (await evaluation.group(rules, T0, frozenset()))[name] == Found({})
    result = (await evaluation.group(rules, T0, frozenset({name})))[name]
    assert result == Found({}, frozenset({(("host", "a"),)}))


async def test_nothing_is_sent_before_it_is_stored_and_all_the_same_when_the_store_stays_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluator = TableEvaluator({"load > 1": (sample(host="a"),)})
    one, store = Recorder(), Flaky()
    monkeypatch.setattr("callboard.actors.alerts.runner.TICK_S", 0.01)
    async with running(evaluator, {"one": one}, store=store) as runner:
        store.is_away = True
        await until(lambda: runner.view().counts["store_failures"] > 3)
        assert not one.got
        monkeypatch.setattr("callboard.actors.alerts.runner.PATIENCE_S", 0.0)
        await until(lambda: bool(one.got))
        store.is_away = False
        await until(lambda: not runner.core.has_changes)
        assert runner.view().counts["unstored"] >= 1
    assert len(one.got) == 1


async def test_a_silence_that_a_command_has_stored_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluator = TableEvaluator({"load > 1": (sample(host="a"),)})
    store, clock = MemoryReadModelStore(), Clock()
    monkeypatch.setattr("callboard.actors.alerts.runner.TICK_S", 0.01)
    monkeypatch.setattr("callboard.actors.alerts.runner.READ_SILENCES_S", 0.0)
    async with running(evaluator, {}, store=store, clock=clock) as runner:
        await until(lambda: bool(runner.core.table.alerts) and not runner.core.has_changes)
        made = Silence(
            id="s", matchers=(matcher("host=a"),), from_ns=T0 - S, until_ns=T0 + 99 * S,
            author="me", comment="",
        )  # fmt: skip
        while True:
            position = store.position(MODEL)
            if store.apply(MODEL, position, position + 1, {key_of(made): encode(made)}):
                break
        await until(lambda: runner.view().alerts[0].silenced_by == "s")
        await runner.silence(
            Silence(
                id="mine", matchers=(matcher("host=b"),), from_ns=T0, until_ns=T0 + S,
                author="me", comment="",
            )
        )  # fmt: skip
        assert store.get_many(MODEL, ["silence/mine", "silence/s"]) != [None, None]
        assert await runner.end_silence("s")
        assert not await runner.end_silence("s")


async def test_a_manager_that_was_replaced_ends() -> None:
    store, broken = MemoryReadModelStore(), list[CallboardError]()
    evaluator = TableEvaluator({"load > 1": (sample(host="a"),)})
    clock = Clock()
    options: dict[str, Any] = {"store": store, "clock": clock, "on_broken": broken.append}
    async with running(evaluator, {}, **options) as runner:
        await until(lambda: bool(runner.core.table.alerts) and not runner.core.has_changes)
        rows = AlertRows(store, fence=0, name="another")
        await rows.open()
        evaluator.table.clear()
        clock.now += 2 * S
        await until(lambda: bool(broken))
        await rows.close()
    assert isinstance(broken[0], WriterFenced)


async def test_an_older_incarnation_does_not_begin() -> None:
    store = MemoryReadModelStore()
    newer = AlertRows(store, fence=9 << 22, name="newer")
    await newer.open()
    older = AlertRows(store, fence=8 << 22, name="older")
    with pytest.raises(WriterFenced, match="newer"):
        await older.open()
    for rows in (newer, older):
        await rows.close()


async def test_damaged_rows_are_counted_and_stay() -> None:
    store = MemoryReadModelStore()
    store.apply(MODEL, 0, 1, {"alert/x": b"?", OWNER: b""})
    async with running(TableEvaluator(), {}, store=store) as runner:
        assert runner.core.counts["rows_damaged"] == 2
    assert store.get_many(MODEL, ["alert/x"]) == [b"?"]


async def test_a_defect_of_the_core_ends_the_runner_and_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken: list[CallboardError] = []

    def fails(core: AlertCore, now_ns: int) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(AlertCore, "advance", fails)
    async with running(TableEvaluator(), {}, on_broken=broken.append):
        await until(lambda: bool(broken))
    assert "ZeroDivisionError" in broken[0].message
