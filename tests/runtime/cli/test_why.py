"""`callboard why`: the history of an actor or a host, by each of its names."""

import asyncio
import datetime as dt
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rich.console import Console

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.inspection.history import RESTARTS
from callboard.actors.kernel.props import props
from callboard.actors.trees.spec import ActorSpec, TreeSpec
from callboard.messages.control.control_plane import CONTROL_CELL, CONTROL_SLOT
from callboard.messages.control.spec import Intensity, Restart, Strategy, SupervisorSpec
from callboard.messages.control.views import ActorHistory, HistoryEntry
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ActorStopped, HandlerFailed, UsageError
from callboard.messages.core.ref import Address
from callboard.runtime.api.inside import host_of, processes_of, root_of
from callboard.runtime.api.start import start as start_system
from callboard.runtime.api.system import System
from callboard.runtime.cli.outcome import ExitCode
from callboard.runtime.cli.sources import Source
from callboard.runtime.cli.why import Found, draw, find, full_path
from callboard.runtime.control_plane import views as control_views
from callboard.supervisors.views import Decision

Run = Callable[..., Any]


class Done(Contract, name="why.done"):
    pass


class Crash(Request[Done], name="why.crash"):
    pass


class Fragile(Actor):
    @handler
    async def crash(self, request: Crash) -> Done:
        raise ValueError("on purpose")


def source_of(system: System) -> Source:
    root_endpoint = Address(CONTROL_SLOT, CONTROL_CELL)
    return Source(1, lambda request: host_of(system).ask(root_endpoint, request))


async def crash(system: System, ref: Any) -> None:
    with pytest.raises((HandlerFailed, ActorStopped)):
        await system.ask(Crash(), to=ref)


@pytest_asyncio.fixture
async def system() -> AsyncIterator[System]:
    async with start_system(engine="inline", hosts=2, name="s", stop_timeout_s=0.2) as running:
        yield running


# --- finding ------------------------------------------------------------------------------------


async def test_a_path_that_may_mean_several_names_them(system: System) -> None:
    for host in (1, 2):
        await system.spawn_many([Fragile], host=host)
    async with start_system(engine="inline", hosts=1, name="other") as other:
        await system.spawn(Fragile, name="twin", host=1)
        await other.spawn(Fragile, name="twin")
        both = [source_of(system), source_of(other)]
        with pytest.raises(UsageError, match=r"may mean 2 actors.*system s.*system other") as error:
            await find(both, "twin")
        assert "--system" in error.value.advice
        found = await find(both, "twin", "other")
        assert (found.system, found.history.path) == ("other", "/twin")
        with pytest.raises(UsageError, match="no system is named 'third'") as error:
            await find(both, "twin", "third")
        assert "other, s" in error.value.advice


async def test_an_unknown_path_lists_similar_paths(system: System) -> None:
    await system.spawn(Fragile, name="referee", host=2)
    for path in ("refere", "/refere", "host-2/refere"):
        with pytest.raises(UsageError, match=r"no actor and no host has the path") as error:
            await find([source_of(system)], path)
        assert "referee" in error.value.advice, path
    with pytest.raises(UsageError) as error:
        await find([source_of(system)], "hots-1")
    assert "host-1" in error.value.advice
    with pytest.raises(UsageError):
        await find([source_of(system)], " / ")


async def test_every_name_of_an_actor_leads_to_it(system: System) -> None:
    ref = await system.spawn(Fragile, name="referee", host=2)
    await crash(system, ref)
    number = ref.address.cell
    for path in ("host-2/referee", "/referee", "referee", " host-2/referee/ ", f"host-2/#{number}"):
        history = (await find([source_of(system)], path)).history
        assert (full_path(history), history.restarts) == ("host-2/referee", 1), path
        (entry,) = history.entries
        assert entry.decision == "restarted"
        assert "on purpose" in entry.traceback


async def test_an_ended_actor_is_found_and_so_is_its_successor(system: System) -> None:
    ref = await system.spawn(Fragile, name="once", host=1, restart=Restart.TEMPORARY)
    await crash(system, ref)
    history = (await find([source_of(system)], "once")).history
    assert (history.lifecycle, full_path(history)) == ("ended", "host-1/once")
    assert "on purpose" in history.ended
    async with asyncio.timeout(5.0):
        while root_of(system).table.names:  # noqa: ASYNC110 - the report of an end has no event
            await asyncio.sleep(0)
    await system.spawn(Fragile, name="once", host=2)
    assert full_path((await find([source_of(system)], "once")).history) == "host-2/once"


async def test_hosts_have_histories_too(system: System) -> None:
    ref = await system.spawn(Fragile, name="referee", host=1)
    await crash(system, ref)
    history = (await find([source_of(system)], "driver")).history
    assert "the system ends" in history.note
    before = (await find([source_of(system)], "host-1")).history
    assert (before.kind, before.incarnation, before.entries) == ("host", 1, ())
    await processes_of(system)[0].kill()
    async with asyncio.timeout(10.0):
        while not (await find([source_of(system)], "host-1")).history.incarnation > 1:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        while (await find([source_of(system)], "host-1")).history.lifecycle != "running":  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    history = (await find([source_of(system)], "host-1/")).history
    assert (history.restarts, history.entries[0].reason) == (1, "killed")
    actor = (await find([source_of(system)], "referee")).history
    assert "taken over once" in actor.note
    (entry,) = actor.entries  # Its host's: what it had before is lost.
    assert (entry.relation, entry.origin, entry.reason) == ("host", "host-1", "killed")
    assert (actor.restarts, actor.host_restarts) == (0, 1)


def tree_of_three(strategy: Strategy) -> TreeSpec:
    supervisor = SupervisorSpec(strategy=strategy, intensity=Intensity(1, 60.0))
    return TreeSpec(
        "svc",
        (
            TreeSpec(
                "pair",
                (ActorSpec("a", props(Fragile)), ActorSpec("b", props(Fragile))),
                supervisor=supervisor,
            ),
            ActorSpec("other", props(Fragile)),
        ),
    )


@pytest.mark.parametrize("strategy", [Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL])
async def test_a_restart_by_the_group_names_the_sibling_that_failed(
    system: System, strategy: Strategy
) -> None:
    tree = await system.start_tree(tree_of_three(strategy))
    source = source_of(system)
    await crash(system, tree["pair/a"])
    await crash_is_over(system, "svc/pair/b", 1)
    found = await find([source], "svc/pair/b")
    (entry,) = found.history.entries
    assert (entry.relation, entry.origin) == ("sibling", "/svc/pair/a")
    assert (entry.reason, entry.decision) == ("failed", Decision.RESTARTED_AS_MEMBER.value)
    assert "on purpose" in entry.message
    assert (found.history.restarts, found.history.group_restarts) == (0, 1)
    text = drawn(found)
    assert "0 restarts of its own, 1 with its group" in text
    assert "sibling /svc/pair/a," in text
    assert "has not failed itself" in text
    assert "No failure is known" not in text
    untouched = (await find([source], "svc/other")).history
    assert (untouched.group_restarts, untouched.entries) == (0, ())


async def test_a_restart_by_the_parent_names_the_parent(system: System) -> None:
    tree = await system.start_tree(tree_of_three(Strategy.ONE_FOR_ONE))
    source = source_of(system)
    await crash(system, tree["pair/a"])
    await crash(system, tree["pair/a"])  # One too many: the pair fails, and starts again.
    async with asyncio.timeout(10.0):
        while not (await find([source], "svc/pair/b")).history.parent_restarts:  # noqa: ASYNC110 - the restart has no event
            await asyncio.sleep(0)
    found = await find([source], "svc/pair/b")
    entry = found.history.entries[-1]
    assert (entry.relation, entry.origin) == ("parent", "/svc/pair")
    assert "on purpose" in entry.message
    assert "1 with its parents" in drawn(found)
    assert "the parent restarted" in drawn(found)


def test_the_decisions_that_restart_are_those_of_supervisors() -> None:
    restarts = (Decision.RESTARTED, Decision.RESTARTED_GROUP, Decision.RESTARTED_AS_MEMBER)
    assert {decision.value for decision in restarts} == RESTARTS


async def crash_is_over(system: System, path: str, group_restarts: int) -> None:
    async with asyncio.timeout(10.0):
        while (await find([source_of(system)], path)).history.group_restarts < group_restarts:  # noqa: ASYNC110 - the restart has no event
            await asyncio.sleep(0)


async def test_an_actor_that_a_sibling_ended_says_so(system: System) -> None:
    spec = TreeSpec(
        "brief",
        (
            ActorSpec("a", props(Fragile)),
            ActorSpec("once", props(Fragile), restart=Restart.TEMPORARY),
        ),
        supervisor=SupervisorSpec(strategy=Strategy.ONE_FOR_ALL),
    )
    tree = await system.start_tree(spec)
    await crash(system, tree["a"])
    async with asyncio.timeout(10.0):
        while (await find([source_of(system)], "brief/once")).history.lifecycle != "ended":  # noqa: ASYNC110 - the end has no event
            await asyncio.sleep(0)
    (entry,) = (await find([source_of(system)], "brief/once")).history.entries
    assert (entry.relation, entry.decision) == ("sibling", Decision.ENDED_AS_MEMBER.value)


async def test_a_host_that_hangs_is_reported_and_hides_no_other(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_views, "QUERY_TIMEOUT_S", 0.05)
    await system.spawn(Fragile, name="here", host=1)
    hanging = processes_of(system)[1].host
    monkeypatch.setattr(hanging, "answer", lambda *_: asyncio.sleep(3_600.0))
    found = await find([source_of(system)], "/here")
    assert full_path(found.history) == "host-1/here"
    assert found.silent == ("host-2: it has not answered for 0.05 s",)
    with pytest.raises(UsageError, match="may have it: host-2: it has not answered"):
        await find([source_of(system)], "/there")
    view = await system.view()
    assert [host.state for host in view.hosts] == ["up", "up", "silent"]


# --- drawing ------------------------------------------------------------------------------------


def drawn(found: Found, **options: Any) -> str:
    def now() -> dt.datetime:
        return dt.datetime(2030, 1, 2, 12, 0, 0, tzinfo=dt.UTC)

    console = Console(width=200)
    with console.capture() as capture:
        console.print(draw(found, now=now, **options))
    return capture.get()


def test_a_history_is_drawn_with_times_and_decisions() -> None:
    entry = HistoryEntry(
        ago_s=3_600.0, incarnation=3, reason="failed", message="ValueError: [bold]no[/]\x1b[2J",
        traceback="Traceback: line 7", decision="restarted", delay_s=0.5,
    )  # fmt: skip
    history = ActorHistory(
        host="host-1", path="/a", kind="A", lifecycle="running", restarts=1, restart="transient",
        supervision="one_for_one, at most 3 restarts in 5 s", entries=(entry,),
    )  # fmt: skip
    text = drawn(Found("s", 7, history, ("host-2: down",)))
    assert "host-1/a  A  running  system s, process 7" in text
    assert "2030-01-02 11:00:00 (1 h 0 min ago)  incarnation 3  failed" in text
    assert "ValueError: [bold]no[/]·[2J" in text
    assert "→ restarted after 500 ms" in text
    assert "Traceback: line 7" in text
    assert "not asked: host-2: down" in text
    assert "Traceback" not in drawn(Found("s", 7, history), traces=False)


def test_one_without_failures_says_so() -> None:
    history = ActorHistory(host="host-1", path="/a", kind="A", lifecycle="running")
    assert "No failure is known" in drawn(Found("s", 7, history))


# --- the commands -------------------------------------------------------------------------------


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An own folder for admin sockets; made after `tmp_path`, which must not be inside."""
    assert tmp_path.exists()
    with tempfile.TemporaryDirectory(prefix="cb") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


def test_a_running_system_is_asked_from_another_process(
    temporary: Path, callboard: Run, start: Run
) -> None:
    assert callboard("why", "x").code == ExitCode.FAILED
    system = start("run", "jobs:stands", "--engine", "inline", "--hosts", "2", "--name", "s")
    system.wait_for("up")
    found = json.loads(callboard("why", "referee", "--json").out)
    shown = callboard("why", "referee")
    unknown = callboard("why", "refere")
    busiest = json.loads(callboard("top", "--once", "--json", "--sort", "memory").out)
    assert system.end(text="\n").code == ExitCode.OK

    assert (found["system"], found["pid"], found["restarts"]) == ("s", system.pid, 1)
    assert found["entries"][0]["decision"] == "restarted"
    assert shown.code == ExitCode.OK
    assert "on purpose" in shown.out
    assert "in crash" in shown.out
    assert unknown.code == ExitCode.USAGE
    assert "referee" in unknown.err
    (one,) = busiest["systems"]
    assert [host["name"] for host in one["hosts"] if host["messages_per_s"] is None] == []
    assert all(host["lag_max_s"] is not None for host in one["hosts"])
    assert {link["state"] for link in one["links"]} == {"open"}
