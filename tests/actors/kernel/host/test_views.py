"""Views of one host: the tree, the load, the histories, and their limits."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel.actor import Actor, OnError, handler
from callboard.actors.kernel.cell import Cell, Recipe
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.host.loop_lag import LoopLag
from callboard.actors.kernel.inspection import meters as meters_module
from callboard.actors.kernel.inspection.ended_actors import ENDED_MAX, FAILED_MAX
from callboard.actors.kernel.inspection.history import MATCHES_MAX, histories_of
from callboard.actors.kernel.inspection.meters import Activity
from callboard.actors.kernel.inspection.views import measure_mailboxes, view_host
from callboard.messages.control.spec import Restart
from callboard.messages.control.views import ActorHistory, ActorView, QueryHost, QueryHostActor
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ActorStartFailed, HandlerFailed
from callboard.messages.core.ref import Address

Spawn = Callable[..., Any]


class Done(Contract, name="views.done"):
    pass


class Work(Request[Done], name="views.work"):
    pass


class Fail(Request[Done], name="views.fail"):
    text: str


class Hold(Contract, name="views.hold"):
    """Handled until the host ends."""


class Worker(Actor):
    on_error: ClassVar[OnError] = OnError.RESTART

    @handler
    async def work(self, request: Work) -> Done:
        return Done()

    @handler
    async def fail(self, request: Fail) -> Done:
        raise ValueError(request.text)

    @handler
    async def hold(self, message: Hold) -> None:
        await asyncio.sleep(3_600.0)


class Stillborn(Actor):
    def __init__(self) -> None:
        raise LookupError("no such thing")


async def named(host: Host, name: str, parent: Any = None, **options: Any) -> Any:
    return await host.spawn(Recipe(Worker, (), None, name), parent, **options)


async def crash(host: Host, cell: Cell | None, text: str = "on purpose") -> None:
    assert cell is not None
    restarts = host.meters.restarts
    with pytest.raises(HandlerFailed):
        await host.ask(Address(1, cell.id), Fail(text=text))
    if host.cells.get(cell.id) is cell:
        await host.ask(Address(1, cell.id), Work())
        assert host.meters.restarts == restarts + 1


def by_name(members: tuple[ActorView, ...]) -> dict[str, ActorView]:
    return {member.name: member for member in members}


def history(host: Host, path: str) -> ActorHistory:
    (found,) = histories_of(host, QueryHostActor(path=path)).matches
    return found


# --- the tree -------------------------------------------------------------------------------------


async def test_failed_actors_are_in_the_view_of_thousands(host: Host, spawn: Spawn) -> None:
    for _ in range(200):
        await spawn(Worker)
    parent = await named(host, "reviews")
    for number in range(20):
        await named(host, f"store-{number}", parent)
    failing = await named(host, "flaky", parent)
    await crash(host, failing)

    view = await view_host(host, QueryHost(actors_max=4))

    assert len(view.members) == 3  # `reviews`, and what the limit of 4 leaves for others.
    assert view.top_level == 201
    reviews = by_name(view.members)["reviews"]
    assert (reviews.children, reviews.strategy) == (21, "one_for_one")
    (flaky,) = reviews.members
    assert (flaky.path, flaky.restarts, flaky.restart) == ("/reviews/flaky", 1, "transient")
    assert "on purpose" in flaky.last_failure
    assert flaky.failed_ago_s is not None
    assert (view.restarts, view.deaths) == (1, 1)


async def test_members_come_in_the_order_of_their_start(host: Host) -> None:
    for name in "abc":
        await named(host, name)
    await crash(host, host.spawner.guardian.named("c"))
    view = await view_host(host, QueryHost())
    assert [member.name for member in view.members] == ["a", "b", "c"]


async def test_a_view_of_no_actors_still_counts_them(host: Host) -> None:
    await named(host, "a")
    view = await view_host(host, QueryHost(actors_max=0))
    assert (view.members, view.top_level, view.actors) == ((), 1, 1)
    view = await view_host(host, QueryHost(actors_max=-5, busiest_max=-5))
    assert (view.members, view.mailbox) == ((), None)


async def test_a_deep_tree_is_cut_at_its_limit(host: Host) -> None:
    parent: Cell | None = None
    for depth in range(60):
        parent = await named(host, f"d{depth}", parent)
    view = await view_host(host, QueryHost(actors_max=1_000))
    depth, (last,) = 1, view.members
    while last.members:
        depth, (last,) = depth + 1, last.members
    assert depth == 50
    assert last.children == 1


# --- load -----------------------------------------------------------------------------------------


async def test_the_busiest_are_counted_from_the_first_query_on(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meters_module, "WINDOW_MIN_S", 0.0)
    lazy, busy = await named(host, "lazy"), await named(host, "busy")
    assert host.dispatcher.activity is None
    first = await view_host(host, QueryHost(busiest_max=5))
    assert (first.busiest_window_s, first.busiest) == (0.0, ())
    for _ in range(7):
        await host.ask(Address(1, busy.id), Work())
    await host.ask(Address(1, lazy.id), Work())
    second = await view_host(host, QueryHost(busiest_max=5))
    assert [(load.path, load.handled) for load in second.busiest] == [("/busy", 7), ("/lazy", 1)]
    assert second.busiest_window_s > 0.0
    assert second.handled - first.handled >= 8
    (only,) = (await view_host(host, QueryHost(actors_max=0, busiest_max=1))).busiest or [None]
    assert only is None  # In the third window no actor handled a message.


async def test_counting_ends_when_no_query_comes(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meters_module, "LEASE_S", 0.0)
    await view_host(host, QueryHost(busiest_max=1))
    async with asyncio.timeout(5.0):
        while host.dispatcher.activity is not None:  # noqa: ASYNC110 - a timer's end has no event
            await asyncio.sleep(0)


async def test_two_queries_do_not_take_each_others_counts(host: Host) -> None:
    await view_host(host, QueryHost(busiest_max=1))
    window = host.meters.window()
    assert host.meters.window() is window


def test_activity_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters_module, "ACTIVE_MAX", 2)
    activity = Activity()
    for number in (1, 2, 3, 1):
        activity.add(number, 10)
    assert activity.take() == {1: 20, 2: 10}
    assert activity.take() == {}


async def test_mailboxes_are_measured_without_that_of_the_control_actor(host: Host) -> None:
    slow, slower = await named(host, "slow"), await named(host, "slower")
    for cell, count in ((slow, 3), (slower, 5)):
        for _ in range(count):
            host.tell(Address(1, cell.id), Hold())
    while not slower.mailbox or len(slower.mailbox) > 4:  # noqa: ASYNC110 - a worker's turn is no event
        await asyncio.sleep(0)
    depths = await measure_mailboxes(host, fullest_max=1)
    assert (depths.total, depths.deepest, depths.fullest) == (2 + 4, 4, [slower])
    view = await view_host(host, QueryHost(busiest_max=1))
    assert (view.mailbox, view.mailbox_max) == (6, 4)
    assert [(load.path, load.mailbox, load.running) for load in view.busiest] == [("/slower", 4, 1)]


async def test_lag_is_how_late_the_timer_was() -> None:
    loop = asyncio.get_running_loop()
    lag = LoopLag(loop)
    assert (lag.mean_s(), lag.max_s()) == (None, None)
    lag.start()
    lag.start()  # Only once.
    began_s = loop.time()
    while loop.time() < began_s + 0.15:
        pass  # Keeps the loop from running, as a bad handler does.
    async with asyncio.timeout(5.0):
        while lag.max_s() is None:  # noqa: ASYNC110 - it is the timer that is waited for
            await asyncio.sleep(0)
    lag.stop()
    assert (lag.max_s() or 0.0) >= 0.04


# --- histories ------------------------------------------------------------------------------------


async def test_a_history_has_each_failure_with_its_traceback_and_the_decision(
    host: Host,
) -> None:
    parent = await named(host, "reviews")
    child = await named(host, "store", parent)
    await crash(host, child, "first")
    await crash(host, child, "second")
    found = history(host, "reviews/store")
    assert (found.host, found.path, found.kind) == ("alone", "/reviews/store", "Worker")
    assert (found.lifecycle, found.restarts, found.restart) == ("running", 2, "transient")
    assert "one_for_one, at most 3 restarts in 5 s" in found.supervision
    first, second = found.entries
    assert ("first" in first.message, "second" in second.message) == (True, True)
    assert first.ago_s >= second.ago_s
    assert "in fail" in first.traceback
    assert first.decision == "restarted"
    assert first.incarnation < second.incarnation


async def test_an_actor_without_a_name_is_found_by_its_number(host: Host, spawn: Spawn) -> None:
    ref = await spawn(Worker)
    number = ref.address.cell
    for path in (f"${number}", f"/#{number}/", f"${number}"):
        assert history(host, path).cell == number
    (by_cell,) = histories_of(host, QueryHostActor(path="", cell=number)).matches
    assert by_cell.path == f"/${number}"
    assert histories_of(host, QueryHostActor(path="", cell=77)).matches == ()


async def test_an_ended_actor_has_a_history(host: Host) -> None:
    cell = await named(host, "once", restart=Restart.TEMPORARY)
    await crash(host, cell)
    found = history(host, "/once")
    assert (found.lifecycle, found.cell) == ("ended", cell.id)
    assert found.ended_ago_s is not None
    assert "failed" in found.ended
    assert "on purpose" in found.ended
    await named(host, "once")
    assert history(host, "/once").lifecycle == "running"


async def test_an_actor_that_never_started_has_a_history(host: Host) -> None:
    with pytest.raises(ActorStartFailed):
        await host.spawn(Recipe(Stillborn, (), None, "never"), None)
    found = history(host, "never")
    assert (found.lifecycle, found.kind) == ("ended", "Stillborn")
    assert "no such thing" in found.ended


async def test_normal_ends_do_not_remove_failures(host: Host) -> None:
    await crash(host, await named(host, "failed", restart=Restart.TEMPORARY))
    for number in range(ENDED_MAX + 10):
        cell = await named(host, f"ended-{number}")
        await host.termination.stop_child(None, cell.id)
    assert "on purpose" in history(host, "failed").ended
    assert histories_of(host, QueryHostActor(path="ended-0")).matches == ()
    assert history(host, f"ended-{ENDED_MAX}").ended == "shutdown"


async def test_the_number_of_kept_failures_is_bounded(host: Host) -> None:
    ended_actors = host.meters.ended_actors
    cell = await named(host, "a")
    await crash(host, cell)
    (at_s,) = ended_actors.failed_at_s.values()
    for number in range(FAILED_MAX):
        ended_actors.failed_at_s[-number - 1] = at_s
    await crash(host, await named(host, "b"))
    assert len(ended_actors.failed_at_s) <= FAILED_MAX + 1
    assert cell.id not in ended_actors.failed_at_s


async def test_similar_paths_are_named(host: Host) -> None:
    parent = await named(host, "reviews")
    await named(host, "store", parent)
    near = histories_of(host, QueryHostActor(path="/reviews/stoer"))
    assert (near.matches, near.near) == ((), ("/reviews/store",))
    assert histories_of(host, QueryHostActor(path="/reveiws/store")).near == ("/reviews",)
    assert histories_of(host, QueryHostActor(path="//")).near == ()
    assert histories_of(host, QueryHostActor(path="/" * 10_000 + "x" * 10_000)).matches == ()


async def test_slashes_in_names_may_mean_several(host: Host) -> None:
    parent = await named(host, "a")
    await named(host, "b/c", parent)
    await named(host, "a/b/c")
    paths = [match.path for match in histories_of(host, QueryHostActor(path="/a/b/c")).matches]
    assert paths == ["/a/b/c", "/a/b/c"]
    assert len(paths) <= MATCHES_MAX


async def test_a_stopping_host_has_a_view(host: Host) -> None:
    cell = await named(host, "slow")
    host.tell(Address(1, cell.id), Hold())
    while cell.is_quiet:  # noqa: ASYNC110 - a worker's turn is no event
        await asyncio.sleep(0)
    stopping = asyncio.create_task(host.spawner.stop_all())
    await asyncio.sleep(0)
    view = await view_host(host, QueryHost())
    assert view.is_stopping
    assert [(member.lifecycle, member.running) for member in view.members] == [("stopping", 1)]
    stopping.cancel()
