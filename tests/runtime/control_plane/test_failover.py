"""Hosts die in every way, and their actors come back at the same references."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from callboard.actors.kernel.props import props
from callboard.messages.control.control_plane import CONTROL_CELL, CONTROL_SLOT
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.control.spec import Backoff, Intensity, SupervisorSpec
from callboard.messages.control.views import QueryActor
from callboard.messages.core.errors import ActorNotFound, CallboardError, HostLost
from callboard.messages.core.ref import Address, Ref
from callboard.runtime.api.inside import host_of, root_of
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System

from ..engines import engine_fixtures as fixtures
from ..engines import fixture_actors as actors

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[System]:
    async with start(engine="ray", name="faults", **{"hosts": 2, **options}) as system:
        yield system


async def pid_of(system: System, slot: int) -> int:
    process = root_of(system).table.slots[slot].process
    await process.ping()
    return int(process.pid)


async def kill(system: System, slot: int, how: signal.Signals = signal.SIGKILL) -> int:
    pid = await pid_of(system, slot)
    os.kill(pid, how)
    return pid


async def ask_until_answered(
    ref: Ref[Any], n: int = 1, request: actors.Ping | actors.Relay | None = None
) -> None:
    """Ask again after a loss, for a handler that may run twice."""
    async with asyncio.timeout(40.0):
        while True:
            try:
                reply = await ref.ask(request or actors.Ping(n=n), timeout_s=30.0)
            except HostLost:
                continue
            assert reply.n == n
            return


async def relay_until_answered(relayer: Ref[Any], to: Ref[Any], n: int) -> None:
    """The same from another host, which may not have heard of the death yet."""
    await ask_until_answered(relayer, n, actors.Relay(to=to, n=n))


async def standbys(system: System, wanted: int) -> None:
    async with asyncio.timeout(30.0):
        while (await system.view(actors_max=0)).standbys != wanted:
            pass


async def test_killed_host_comes_back_at_the_same_references() -> None:
    async with running() as system:
        refs = await system.spawn_many([actors.Counter] * 500, host=1)
        named = await system.spawn(actors.Counter, name="steady", host=1)
        other = await system.spawn(actors.Counter, host=2)
        parts = (await system.pool(fixtures.Runner, size=4)).refs
        relayer = await system.spawn(actors.Relayer, host=2)
        old = await kill(system, 1)
        await asyncio.gather(*(ask_until_answered(ref, n) for n, ref in enumerate(refs)))
        assert await pid_of(system, 1) != old
        assert await system.lookup("steady") == named
        await ask_until_answered(named)
        await relay_until_answered(relayer, refs[0], 7)
        assert (await other.ask(actors.Ping(n=1))).n == 1
        replies = await asyncio.gather(*(system.ask(fixtures.Errand()) for _ in range(20)))
        assert {reply.text for reply in replies} == {"host-1", "host-2"}
        assert len(parts) == 2
        await standbys(system, 1)
        view = await system.view(actors_max=0)
        assert view.restarts == 1
        assert [host.name for host in view.hosts] == ["driver", "host-1", "host-2"]
        (standby,) = view.standby_processes
        assert "-standby-" in standby.name
        assert standby.is_ready
        assert standby.pid not in {host.pid for host in view.hosts}


async def test_a_pool_that_was_resized_comes_back_as_it_was() -> None:
    async with running() as system:
        pool = await system.pool(fixtures.Runner, size=2)
        await pool.resize(7)
        before = [host.actors for host in (await system.view(actors_max=0)).hosts]
        assert sum(before[1:]) == 7 + 2
        await kill(system, 1)
        await standbys(system, 1)
        replies = await asyncio.gather(*(pool.ask(fixtures.Errand()) for _ in range(20)))
        assert {reply.text for reply in replies} == {"host-1", "host-2"}
        assert [host.actors for host in (await system.view(actors_max=0)).hosts] == before


async def test_pending_asks_fail_and_say_that_they_may_have_run() -> None:
    """Asks of the driver and of another host fail, although neither sends any more."""
    async with running() as system:
        recorder = await system.spawn(actors.EventRecorder, host=2)
        victim = await system.spawn(actors.Hanger, host=1)
        relay = await system.spawn(actors.Hanger, host=2)
        direct = asyncio.ensure_future(
            victim.ask(actors.Hang(recorder=recorder, label="direct"), timeout_s=60.0)
        )
        nested = asyncio.ensure_future(
            relay.ask(actors.Hang(recorder=recorder, label="nested", to=(victim,)), timeout_s=60.0)
        )
        await recorder.ask(actors.Expect(prefix="direct started"))
        await recorder.ask(actors.Expect(prefix="nested started", count=2))
        await kill(system, 1)
        for ask in (direct, nested):
            with pytest.raises(HostLost) as caught:
                await asyncio.wait_for(ask, 20.0)
            assert caught.value.may_have_run is True


async def test_asks_of_a_dead_host_stop_the_handlers_they_started() -> None:
    async with running() as system:
        recorder = await system.spawn(actors.EventRecorder, host=2)
        asker = await system.spawn(actors.Hanger, host=1)
        asked = await system.spawn(actors.Hanger, host=2)
        ask = asyncio.ensure_future(
            asker.ask(actors.Hang(recorder=recorder, label="orphan", to=(asked,)), timeout_s=60.0)
        )
        await recorder.ask(actors.Expect(prefix="orphan started", count=2))
        await kill(system, 1)
        await recorder.ask(actors.Expect(prefix="orphan ended 0"), timeout_s=20.0)
        with pytest.raises(HostLost):
            await ask


async def test_asks_while_a_host_is_down_wait_for_its_successor() -> None:
    async with running(standbys=0) as system:
        ref = await system.spawn(actors.Counter, host=1)
        relayer = await system.spawn(actors.Relayer, host=2)
        await kill(system, 1)
        async with asyncio.timeout(20.0):
            while root_of(system).table.slots[1].is_up:
                await system.view(actors_max=0)
        assert (await ref.ask(actors.Ping(n=5), timeout_s=30.0)).n == 5
        await relay_until_answered(relayer, ref, 6)


async def test_parents_make_their_children_again() -> None:
    async with running() as system:
        recorder = await system.spawn(actors.EventRecorder, host=2)
        parent = await system.spawn(props(fixtures.Person, recorder, "p", 2), host=1)
        await kill(system, 1)
        await ask_until_answered(parent)
        heard = await recorder.ask(actors.Expect(prefix="p.", count=4), timeout_s=20.0)
        assert heard.events == ("p.0 started", "p.1 started") * 2
        assert len((await parent.ask(fixtures.AskChildren())).refs) == 2


async def test_actor_that_has_ended_does_not_come_back_with_its_host() -> None:
    async with running() as system:
        recorder = await system.spawn(actors.EventRecorder, host=2)
        gone = await system.spawn(props(fixtures.Person, recorder, "gone"), host=1, name="gone")
        kept = await system.spawn(actors.Counter, host=1)
        gone.tell(fixtures.Leave())
        await recorder.ask(actors.Expect(prefix="gone stopping"))
        async with asyncio.timeout(20.0):
            while gone.address.cell in root_of(system).table.slots[1].entries:
                await system.view(actors_max=0)
        await kill(system, 1)
        await ask_until_answered(kept)
        with pytest.raises(CallboardError):
            await system.lookup("gone")


async def test_two_hosts_killed_at_once_find_each_other_again() -> None:
    async with running() as system:
        refs = [await system.spawn(actors.Counter, host=host) for host in (1, 2)]
        relayers = [await system.spawn(actors.Relayer, host=host) for host in (1, 2)]
        await asyncio.gather(kill(system, 1), kill(system, 2))
        for relayer, ref in zip(relayers, reversed(refs), strict=True):
            await ask_until_answered(ref)
            await relay_until_answered(relayer, ref, 3)
        await standbys(system, 1)


async def test_standby_killed_while_it_takes_over() -> None:
    async with running() as system:
        refs = await system.spawn_many([actors.Counter] * 2_000, host=1)
        spare = root_of(system).standbys.spares[0]
        spare_pid = spare.pid
        await kill(system, 1)
        async with asyncio.timeout(20.0):
            while root_of(system).table.slots[1].process is not spare:
                await system.view(actors_max=0)
        os.kill(spare_pid, signal.SIGKILL)
        await asyncio.gather(*(ask_until_answered(ref, n) for n, ref in enumerate(refs)))


@pytest.mark.soak
async def test_dead_standby_is_replaced_before_it_is_needed() -> None:
    async with running() as system:
        spare = root_of(system).standbys.spares[0]
        os.kill(spare.pid, signal.SIGKILL)
        async with asyncio.timeout(30.0):
            while spare in root_of(system).standbys.spares:
                await system.view(actors_max=0)
        await standbys(system, 1)
        ref = await system.spawn(actors.Counter, host=1)
        await kill(system, 1)
        await ask_until_answered(ref)


@pytest.mark.soak
@pytest.mark.parametrize("times", [4])
async def test_same_host_killed_again_and_again(times: int) -> None:
    async with running() as system:
        ref = await system.spawn(actors.Counter, host=1)
        for n in range(times):
            await kill(system, 1)
            await ask_until_answered(ref, n)
        assert (await system.view(actors_max=0)).restarts == times


async def test_hosts_that_die_faster_than_they_may_end_the_system_with_the_reason() -> None:
    frail = SupervisorSpec(intensity=Intensity(restarts=1, period_s=60.0), backoff=Backoff())

    async def main() -> None:
        async with running(host_supervision=frail, hosts=1) as system:
            ref = await system.spawn(actors.Counter, host=1)
            for _ in range(3):
                await kill(system, 1)
                await ask_until_answered(ref)
            await asyncio.get_running_loop().create_future()  # The system's end cancels it.

    with pytest.raises(HostLost, match="gives up"):
        await main()


async def test_actor_that_does_not_start_on_the_successor_is_given_up_alone() -> None:
    async with running() as system:
        recorder = await system.spawn(actors.EventRecorder, host=2)
        once = await system.spawn(props(fixtures.FussyChild, recorder, "once"), host=1)
        kept = await system.spawn(actors.Counter, host=1)
        await kill(system, 1)
        await ask_until_answered(kept)
        with pytest.raises(ActorNotFound):
            await once.ask(actors.Ping(n=1), timeout_s=10.0)


async def test_stopped_process_is_noticed_by_its_heartbeats_and_replaced() -> None:
    async with running(heartbeat_s=0.3, heartbeats_missed_max=3) as system:
        ref = await system.spawn(actors.Counter, host=1)
        relayer = await system.spawn(actors.Relayer, host=2)
        old = await kill(system, 1, signal.SIGSTOP)
        try:
            await ask_until_answered(ref)
            await relay_until_answered(relayer, ref, 2)
            assert await pid_of(system, 1) != old
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(old, signal.SIGCONT)
        assert (await ref.ask(actors.Ping(n=4))).n == 4


async def test_loop_that_is_blocked_for_a_while_is_no_dead_host() -> None:
    """Heartbeats have a thread of their own, so the slow host is not replaced."""
    # Two seconds of silence are the limit: a busy machine keeps a healthy host waiting for less.
    async with running(heartbeat_s=0.5, heartbeats_missed_max=4) as system:
        blocker = await system.spawn(actors.Blocker, host=1)
        other = await system.spawn(actors.Counter, host=1)
        pid = await pid_of(system, 1)
        block = asyncio.ensure_future(blocker.ask(actors.Block(seconds=4.0)))
        await root_of(system).table.slots[1].process.ping()
        assert (await block).n == 1
        assert (await other.ask(actors.Ping(n=1))).n == 1
        assert await pid_of(system, 1) == pid
        assert (await system.view(actors_max=0)).restarts == 0


async def test_loop_that_is_blocked_for_ever_ends_its_host_and_names_the_blocked_actor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(heartbeat_s=0.5, blocked_s_max=2.0) as system:
        blocker = await system.spawn(actors.Blocker, host=1, name="stuck")
        other = await system.spawn(actors.Counter, host=1)
        pid = await pid_of(system, 1)
        with pytest.raises(HostLost, match=r"/stuck is handling a .*block") as caught:
            await blocker.ask(actors.Block(seconds=1e6), timeout_s=60.0)
        assert caught.value.may_have_run
        await ask_until_answered(other)
        assert await pid_of(system, 1) != pid
        found = await host_of(system).ask(
            Address(CONTROL_SLOT, CONTROL_CELL), QueryActor(path="host-1")
        )
    (entry,) = found.matches[0].entries
    assert "/stuck is handling a" in entry.message
    assert "time.sleep(request.seconds)" in entry.traceback
    assert entry.decision.startswith("restart")
    assert "host-1 has not run for" in caplog.text
    assert "/stuck is handling a" in caplog.text


async def test_dead_letters_of_a_successor_reach_subscribers_too() -> None:
    async with running() as system:
        dead_letters: list[DeadLetter] = []
        await system.on_dead_letter(dead_letters.append)
        ref = await system.spawn(actors.Fragile, host=1)
        await kill(system, 1)
        await ask_until_answered(ref)
        ref.tell(actors.Note(n=-1))
        await ref.ask(actors.Ping(n=1))
        async with asyncio.timeout(20.0):
            while not any(letter.reason == "handler_failed" for letter in dead_letters):
                await system.view(actors_max=0)


async def test_names_given_while_a_host_comes_up_are_known_to_it() -> None:
    async with running(hosts=2) as system:
        refs = await system.spawn_many([actors.Counter] * 1_000, host=1)
        await kill(system, 1)
        runner = await system.spawn(fixtures.Runner, host=2, offer=True, name="late")
        await asyncio.gather(*(ask_until_answered(ref, n) for n, ref in enumerate(refs)))
        asker = await system.spawn(fixtures.Finder, host=1)
        assert (await asker.ask(fixtures.Find(name="late"))).text == str(runner.address)
