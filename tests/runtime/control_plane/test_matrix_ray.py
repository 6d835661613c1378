"""Strategies of hosts and isolated hosts, with real processes that are killed with -9."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from callboard.messages.control.hosts import HostSpec
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.control.spec import Backoff, Intensity, Strategy, SupervisorSpec
from callboard.messages.core.errors import AskError, ClusterError, HostLost
from callboard.messages.core.ref import Ref
from callboard.runtime.api.inside import root_of
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System

from ..engines import fixture_actors as actors

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here"), pytest.mark.timeout(120)]


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[System]:
    async with start(engine="ray", name="kills", standbys=0, **options) as system:
        yield system


async def pids(system: System) -> dict[str, int]:
    """The process of each host, by its name, once all are up."""
    async with asyncio.timeout(60.0):
        while any(not slot.is_up for slot in root_of(system).table.slots.values()):
            await system.view(actors_max=0)
    return {host.name: host.pid for host in (await system.view(actors_max=0)).hosts if host.slot}


async def answered(system: System, ref: Ref[Any]) -> None:
    async with asyncio.timeout(60.0):
        while True:
            try:
                await ref.ask(actors.Ping(n=1), timeout_s=30.0)
            except AskError:  # Lost with its host.
                await system.view(actors_max=0)
                continue
            return


@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [
        pytest.param(Strategy.ONE_FOR_ONE, {"b"}, marks=pytest.mark.soak),
        pytest.param(Strategy.ONE_FOR_ALL, {"a", "b", "c"}, marks=pytest.mark.soak),
        (Strategy.REST_FOR_ONE, {"b", "c"}),
    ],
)
async def test_killed_host_takes_along_whom_its_strategy_says(
    strategy: Strategy, restarted: set[str]
) -> None:
    supervision = SupervisorSpec(strategy, backoff=Backoff(max_s=0.0))
    hosts = tuple(HostSpec(name) for name in "abc")
    async with running(hosts=hosts, host_supervision=supervision) as system:
        refs = [await system.spawn(actors.Counter, host=name) for name in "abc"]
        before = await pids(system)
        watch = system.watch_host(2)
        os.kill(before["b"], signal.SIGKILL)
        await watch
        for ref in refs:
            await answered(system, ref)
        after = await pids(system)
        assert {name for name in "abc" if before[name] != after[name]} == restarted


async def test_no_ask_fails_at_a_host_that_is_restarted_with_its_group() -> None:
    supervision = SupervisorSpec(Strategy.REST_FOR_ONE, backoff=Backoff(max_s=0.0))
    hosts = tuple(HostSpec(name) for name in "abc")
    async with running(hosts=hosts, host_supervision=supervision) as system:
        ref = await system.spawn(actors.Counter, host="c")
        before = await pids(system)
        watch = system.watch_host(3)
        asks = [asyncio.ensure_future(ref.ask(actors.Ping(n=0), timeout_s=60.0))]
        os.kill(before["b"], signal.SIGKILL)
        while not watch.done():
            # Some get there before it stops, some come back, some wait.
            asks.append(asyncio.ensure_future(ref.ask(actors.Ping(n=0), timeout_s=60.0)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(watch, 0.001)
        await asyncio.gather(*asks)
        assert (await pids(system))["c"] != before["c"]


async def test_escalation_by_kills_ends_the_system_with_the_reason() -> None:
    frail = SupervisorSpec(intensity=Intensity(restarts=0), backoff=Backoff(max_s=0.0))

    async def main() -> None:
        async with running(hosts=2, host_supervision=frail) as system:
            os.kill((await pids(system))["host-2"], signal.SIGKILL)
            await asyncio.get_running_loop().create_future()  # The system's end cancels it.

    with pytest.raises(HostLost, match="gives up"):
        await main()


async def test_isolated_host_has_its_resources_comes_back_with_them_and_gives_them_back() -> None:
    import ray

    def free_cpus() -> float:
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        return free.get("CPU", 0.0)

    async with running(hosts=1) as system:
        before = free_cpus()
        place = Placement(isolated=Resources(cpus=1.0))
        ref = await system.spawn(actors.Counter, name="alone", placement=place)
        pid = (await pids(system))["alone-isolated-2"]
        os.kill(pid, signal.SIGKILL)
        await answered(system, ref)
        assert (await pids(system))["alone-isolated-2"] != pid
        await system.stop(ref)
        async with asyncio.timeout(30.0):
            while free_cpus() != before:
                await system.view(actors_max=0)


async def test_what_the_cluster_does_not_have_fails_at_once_and_is_named() -> None:
    async with running(hosts=1) as system:
        wanted = Resources(gpus=1_000, node_labels={})
        async with asyncio.timeout(5.0):
            with pytest.raises(ClusterError, match="no node has 1000 GPU"):
                await system.spawn(actors.Counter, placement=Placement(isolated=wanted))
            labelled = Resources(node_labels={"zone": "nowhere"})
            with pytest.raises(ClusterError, match="zone=nowhere"):
                await system.spawn(actors.Counter, placement=Placement(isolated=labelled))


@pytest.mark.soak
async def test_what_is_taken_is_waited_for_until_the_deadline_and_said() -> None:
    import ray

    cpus = int(ray.cluster_resources()["CPU"])  # type: ignore[no-untyped-call]
    async with running(hosts=1, start_timeout_s=8.0) as system:
        place = Placement(isolated=Resources(cpus=float(cpus)))
        first = await system.spawn(actors.Counter, placement=place)
        second = asyncio.ensure_future(system.spawn(actors.Counter, placement=place))
        async with asyncio.timeout(7.0):
            while not any("busy" in host.problem for host in (await system.view()).hosts):
                pass
        await system.stop(first)
        await answered(system, await second)
        with pytest.raises(ClusterError, match="busy"):
            await system.spawn(actors.Counter, placement=place)
