"""The alert manager as an actor: asked, followed, restarted, and simulated for hours."""

import asyncio
import functools
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
import pytest_asyncio

from callboard import Actor, Context, System, handler, start
from callboard.actors.alerts.actor import AlertManager
from callboard.actors.alerts.durations import NS
from callboard.actors.alerts.grouping import Notification
from callboard.actors.alerts.messages import (
    ALERT_MANAGER,
    AddSilence,
    AlertChanged,
    EndSilence,
    FollowAlerts,
    QueryAlerts,
)
from callboard.actors.alerts.routing import AlertRoute, NotificationPlan, Receiver
from callboard.actors.alerts.states import AlertState
from callboard.actors.kernel.props import props
from callboard.actors.metrics.ports import Sample
from callboard.messages.control.principals import LOCAL
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.storage.errors import StoreUnavailable
from callboard.runtime.admin.client import AdminClient
from callboard.runtime.admin.port import Caller
from callboard.runtime.admin.service import AdminService
from callboard.runtime.stores.memory import MemoryReadModelStore
from callboard.runtime.stores.sqlite import SqliteReadModelStore
from callboard.testing import Simulation, simulate

from .scripted import DEADLINE_S, T0, Recorder, TableEvaluator, group, rule, sample, until

PLAN: Final = NotificationPlan(
    receivers=(Receiver("log"),), route=AlertRoute(receiver="log", group_wait_s=0.0)
)
EVALUATOR = TableEvaluator()
RECEIVER = Recorder()

CALLER: Final = Caller("test", principal=LOCAL)


class Follower(Actor):
    """Notes the changes of alerts."""

    got: ClassVar[list[AlertChanged]] = []

    @handler
    async def changed(self, notice: AlertChanged) -> None:
        Follower.got.append(notice)


@pytest_asyncio.fixture
async def system() -> AsyncIterator[System]:
    Follower.got.clear()
    RECEIVER.got.clear()
    EVALUATOR.table = {"load > 1": (sample(host="a"),)}
    async with start(engine="inline", hosts=1) as running:
        yield running


def make_evaluator(ctx: Context) -> Any:
    return EVALUATOR


def make_targets(receivers: Any) -> Any:
    return {"log": RECEIVER}


async def manager(system: System, path: Path) -> Any:
    store = functools.partial(SqliteReadModelStore, path, durability="off")
    groups = (group(interval_s=1.0),)
    made = props(AlertManager, groups, PLAN, store, make_evaluator, make_targets)
    return await system.spawn(made, name=ALERT_MANAGER)


async def test_alerts_are_asked_for_silenced_and_followed(system: System, tmp_path: Path) -> None:
    ref = await manager(system, tmp_path / "a.db")
    follower = await system.spawn(Follower)
    await ref.ask(FollowAlerts(follower=follower))
    await until(lambda: bool(Follower.got) and bool(RECEIVER.got))
    assert (Follower.got[0].state, Follower.got[0].before) == ("firing", "")
    view = await ref.ask(QueryAlerts())
    (alert,) = view.alerts
    assert (alert.name, alert.state, alert.labels) == (
        "High", "firing", {"alertname": "High", "host": "a"},
    )  # fmt: skip
    request = AddSilence(
        id="s", matchers=("host=a",), begins_at=view.at, ends_at=view.at + 60, author="me"
    )
    await ref.ask(request)
    view = await ref.ask(QueryAlerts())
    assert (view.alerts[0].silenced_by, view.silences[0].matchers) == ("s", ('host="a"',))
    assert (await ref.ask(EndSilence(id="s"))).was_known
    with pytest.raises(UsageError, match="no matcher"):
        await ref.ask(request.model_copy(update={"matchers": ("a b",)}))
    await system.stop(follower)
    EVALUATOR.table.clear()
    await until(lambda: len(RECEIVER.got) > 0)


async def test_a_restarted_manager_goes_on_and_notifies_nobody_twice(
    system: System, tmp_path: Path
) -> None:
    ref = await manager(system, tmp_path / "a.db")
    await until(lambda: bool(RECEIVER.got))
    first = (await ref.ask(QueryAlerts())).alerts[0]
    await system.stop(ref)
    ref = await manager(system, tmp_path / "a.db")
    evaluated = len(EVALUATOR.asked) + 2
    await until(lambda: len(EVALUATOR.asked) >= evaluated)
    again = (await ref.ask(QueryAlerts())).alerts[0]
    assert (again.fired_at, again.id) == (first.fired_at, first.id)
    assert len(RECEIVER.got) == 1


async def test_the_admin_api_reaches_the_manager(system: System, tmp_path: Path) -> None:
    service = AdminService(alerts=system._ask_alert_manager)
    client = AdminClient(lambda line: service.answer(line, CALLER), DEADLINE_S)
    with pytest.raises(CallboardError, match=r"callboard\.alerts"):
        await client.ask(QueryAlerts())
    await manager(system, tmp_path / "a.db")
    await until(lambda: bool(RECEIVER.got))
    assert (await client.ask(QueryAlerts())).alerts[0].name == "High"
    none = AdminService()
    client = AdminClient(lambda line: none.answer(line, CALLER), DEADLINE_S)
    with pytest.raises(UsageError, match="alert manager"):
        await client.ask(QueryAlerts())


# --- simulated hours ------------------------------------------------------------------------------


class Away(MemoryReadModelStore):
    """A store that is away at times."""

    is_away = False

    def apply(self, *arguments: Any) -> bool:
        if self.is_away:
            raise StoreUnavailable("away")
        return super().apply(*arguments)


class Day:
    """What the simulated managers share: the store, the load, and what the receiver has got."""

    def __init__(self, seed: int, *, is_hard: bool) -> None:
        self.seed = seed
        self.store_fails = self.clocks_differ = is_hard
        self.now_s: Callable[[], float] = float
        self.store = Away()
        self.got: list[Notification] = []
        self.keys: dict[str, int] = defaultdict(int)
        self.receiver_fails = False

    def is_high(self, host: int, at_ns: int) -> bool:
        """High for ten minutes of each hour, at another time on each host."""
        return (at_ns - T0) // (600 * NS) % 6 == (host + self.seed) % 6

    async def instant(self, expression: str, at_ns: int) -> tuple[Sample, ...]:
        hosts = [host for host in range(4) if self.is_high(host, at_ns)]
        return tuple(Sample((("host", str(host)),), 1.0) for host in hosts)

    def check(self, expression: str) -> None:
        """It knows everything."""

    async def deliver(self, notification: Notification) -> None:
        await asyncio.sleep(0.05)
        if self.receiver_fails:
            raise OSError("away")
        self.got.append(notification)
        self.keys[notification.key] += 1


DAYS: Final[list[Day]] = []


def _wall_ns() -> int:
    day = DAYS[-1]
    # The clocks of processes differ by minutes.
    seconds = asyncio.get_running_loop().time() if day.clocks_differ else day.now_s()
    return T0 + round(seconds * NS)


def _make_store() -> Away:
    return DAYS[-1].store


def _make_evaluator(ctx: Context) -> Any:
    return DAYS[-1]


def _make_targets(receivers: Any) -> Any:
    return {"log": DAYS[-1]}


async def _hours(sim: Simulation) -> None:
    """Two hours with crashes, a receiver and a store that are away; then an hour of peace."""
    day = DAYS[-1]
    day.now_s = lambda: sim.now_s
    rules = (rule(for_s=120.0), rule("Quick", keep_firing_for_s=60.0))
    plan = NotificationPlan(
        receivers=(Receiver("log"),),
        route=AlertRoute(receiver="log", group_wait_s=10, group_interval_s=120, group_by=("host",)),
    )
    made = props(
        AlertManager, (group(*rules, interval_s=30.0),), plan, _make_store, _make_evaluator,
        _make_targets, {"now_ns": _wall_ns},
    )  # fmt: skip
    await sim.system.spawn(made, name=ALERT_MANAGER, host=1)
    for _ in range(16):
        day.receiver_fails = sim.random.random() < 0.2
        day.store.is_away = day.store_fails and sim.random.random() < 0.2
        await sim.advance(sim.random.uniform(0, 900))
        day.store.is_away = False
        if sim.random.random() < 0.5:
            sim.crash(1)
            await sim.all_up()
    day.receiver_fails = False
    day.is_high = lambda host, at_ns: False  # type: ignore[method-assign]
    await sim.advance(3_600)


@pytest.mark.parametrize(
    ("seed", "is_hard"),
    [
        (0, False),
        (1, True),
        *(pytest.param(n, bool(n % 2), marks=pytest.mark.soak) for n in range(2, 30)),
    ],
)
def test_hours_with_crashes_and_failures(seed: int, is_hard: bool) -> None:
    DAYS.append(Day(seed, is_hard=is_hard))
    try:
        simulate(_hours, seed=seed, hosts=2)
    finally:
        day = DAYS.pop()
    firing: dict[str, set[str]] = defaultdict(set)
    made_at: dict[Any, dict[str, int]] = defaultdict(dict)
    for each in day.got:
        firing[str(each.group)] |= each.ids(AlertState.FIRING)
        firing[str(each.group)] -= each.ids(AlertState.RESOLVED)
        made_at[each.group][each.key] = each.made_at_ns
    assert len(day.got) > 10
    assert not any(firing.values()), "the end of each alert has arrived"
    # While the store is away, what a crash forgets is notified again, under another key.
    for times in made_at.values() if not is_hard else ():
        ordered = sorted(times.values())
        gaps = [after - before for before, after in itertools.pairwise(ordered)]
        assert all(gap >= 120 * NS for gap in gaps)
    repeats = sum(count - 1 for count in day.keys.values())
    assert repeats <= 14, "only what was under way at a crash, and with the same key"
