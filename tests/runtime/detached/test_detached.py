"""A detached system on a real cluster: drivers come and go, its root dies and comes back.

One system for all cases of this page: that it survives each of them is the point.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .cluster import Cluster, gone

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

STARTS = """
async def main():
    async with start(
        name="lasting", detached=True, address=ADDRESS, hosts=2, heartbeat_s=0.5,
        metrics="memory:",
    ) as system:
        counter = await system.spawn(Counter, name="counter", host=1, offer=True)
        await system.spawn(Waiting, name="waiting", host=2)
        await counter.ask(Add())
        say(**await pids(system))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def hosts(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """The processes of a system whose driver has ended; `callboard down` stops it."""
    pids = cluster.said(STARTS)
    yield pids
    stopped = cluster.callboard("down", "lasting", "--json")
    said = json.loads(stopped.stdout)
    assert (said["name"], said["in_order"]) == ("lasting", True), stopped.stderr


def test_a_second_system_of_its_name_is_refused(cluster: Cluster, hosts: dict[str, Any]) -> None:
    said = cluster.said(
        """
        async def main():
            try:
                async with start(name="lasting", detached=True, address=ADDRESS):
                    pass
            except errors.NameTaken as error:
                say(refused=str(error))

        asyncio.run(main())
        """
    )
    assert "callboard down lasting" in said["refused"]


def test_a_system_that_does_not_run_is_not_found(cluster: Cluster, hosts: dict[str, Any]) -> None:
    said = cluster.said(
        """
        async def main():
            try:
                async with attach("another", address=ADDRESS):
                    pass
            except errors.ActorNotFound as error:
                say(refused=str(error))

        asyncio.run(main())
        """
    )
    assert "Detached systems on this cluster: lasting" in said["refused"]


def test_an_attached_driver_reads_and_records_metrics(
    cluster: Cluster, hosts: dict[str, Any]
) -> None:
    said = cluster.said(
        """
        from callboard.actors.metrics.series import Matcher, MatcherKind
        from callboard.metrics import MetricsQuery

        async def main():
            async with attach("lasting", address=ADDRESS) as system:
                metrics = system.metrics
                for _ in range(7):
                    system.meter.count("attached_total")
                left = await metrics.flush()
                named = [Matcher("__name__", MatcherKind.IS, "attached_total")]
                rows = await metrics.reader.windows(named, 60 * 10**9, -2**62, 2**62, 100)
                figures = await metrics.figures()
                say(
                    left=left,
                    counted=int(rows.sums.sum()),
                    shards=[each.shard for each in figures],
                    places=sorted(each.host for each in figures),
                    late=sum(len(each.series) for each in await metrics.late()),
                )

        asyncio.run(main())
        """
    )
    assert said["left"] == 0
    assert said["counted"] == 7
    assert said["shards"] == [0, 1, 2, 3]
    assert said["places"] == ["host-1", "host-1", "host-2", "host-2"]
    assert said["late"] == 0


def test_a_killed_driver_is_dropped_and_its_asks_end(
    cluster: Cluster, hosts: dict[str, Any]
) -> None:
    killed = cluster.driver(
        """
        async def main():
            async with attach("lasting", address=ADDRESS) as system:
                waiting = await system.lookup("waiting")
                ask = asyncio.ensure_future(waiting.ask(Hang(), timeout_s=3600.0))
                while not (await waiting.ask(HowMany())).running:
                    await asyncio.sleep(0.01)
                say(hangs=True)
                await ask

        asyncio.run(main())
        """
    )
    assert killed.hear()["hangs"]
    killed.kill()
    said = cluster.said(
        """
        async def main():
            async with attach("lasting", address=ADDRESS) as system:
                waiting = await system.lookup("waiting")
                while (hung := await waiting.ask(HowMany())).running:
                    await asyncio.sleep(0.05)
                counter = await system.lookup("counter")
                say(cancelled=hung.cancelled, n=(await counter.ask(Add())).n, **await pids(system))

        asyncio.run(main())
        """
    )
    assert said["cancelled"] == 1
    assert said["n"] == 2, "its state outlived two drivers"
    assert {name: said[name] for name in hosts} == hosts


def test_a_killed_root_comes_back_to_its_hosts(cluster: Cluster, hosts: dict[str, Any]) -> None:
    """Twice in a row, under two drivers, one of which asks all the time."""
    said = cluster.said(
        """
        async def without_root(system, counter, name):
            os.kill(await root_pid("lasting"), signal.SIGKILL)
            began_s, asks = time.monotonic(), 0
            spawning = asyncio.ensure_future(system.spawn(Counter, name=name))
            while not spawning.done():
                await counter.ask(Add())
                asks += 1
                await asyncio.sleep(0.01)
            first = await (await spawning).ask(Add())
            return [time.monotonic() - began_s, asks, first.n]

        async def main():
            async with (
                attach("lasting", address=ADDRESS) as system,
                attach("lasting", address=ADDRESS) as other,
            ):
                counter = await system.lookup("counter")
                before = (await counter.ask(Add())).n
                rounds = [
                    await without_root(system, counter, f"later-{number}") for number in range(2)
                ]
                later = await other.lookup("later-1")
                routed = await other.ask(Add())
                say(
                    rounds=rounds,
                    before=before,
                    routed=routed.n,
                    later=(await later.ask(Add())).n,
                    **await pids(other),
                )

        asyncio.run(main())
        """
    )
    asks = sum(asks for _, asks, _ in said["rounds"])
    assert asks > 20, "hosts and drivers went on without a root"
    assert said["routed"] == said["before"] + asks + 1
    assert said["later"] == 2
    assert all(first == 1 and took_s < 60.0 for took_s, _, first in said["rounds"])
    assert {name: said[name] for name in hosts} == hosts


def test_a_root_killed_over_a_spawn_starts_nothing_twice(
    cluster: Cluster, hosts: dict[str, Any]
) -> None:
    said = cluster.said(
        """
        async def main():
            async with attach("lasting", address=ADDRESS) as system:
                before = sum(host.actors for host in (await system.view()).hosts)
                root = await root_pid("lasting")
                spawning = asyncio.ensure_future(system.spawn_many([Slow] * 3_000))
                await asyncio.sleep(0.05)
                os.kill(root, signal.SIGKILL)
                refs = await spawning
                replies = await asyncio.gather(*(ref.ask(Add()) for ref in refs))
                while True:  # The root stops half-started actors in the background.
                    actors = sum(host.actors for host in (await system.view()).hosts)
                    if actors - before <= 3_000:
                        break
                    await asyncio.sleep(0.05)
                say(
                    refs=len(set(refs)),
                    first=sum(reply.n == 1 for reply in replies),
                    actors=actors - before,
                    **await pids(system),
                )

        asyncio.run(main())
        """
    )
    assert (said["refs"], said["first"], said["actors"]) == (3_000, 3_000, 3_000)
    assert {name: said[name] for name in hosts} == hosts


def test_a_host_that_dies_with_the_root_is_replaced(
    cluster: Cluster, hosts: dict[str, Any]
) -> None:
    said = cluster.said(
        """
        async def main():
            async with attach("lasting", address=ADDRESS) as system:
                counter, waiting = await system.lookup("counter"), await system.lookup("waiting")
                hosts, root = await pids(system), await root_pid("lasting")
                os.kill(hosts["host-1"], signal.SIGKILL)
                os.kill(root, signal.SIGKILL)
                while True:
                    try:
                        again = await counter.ask(Add())
                        break
                    except errors.HostLost:
                        continue
                after = await pids(system)
                say(n=again.n, pid=again.pid, before=hosts, after=after)

        asyncio.run(main())
        """
    )
    before, after = said["before"], said["after"]
    assert said["n"] == 1, "its state was lost with its host"
    assert said["pid"] == after["host-1"] != before["host-1"]
    assert after["host-2"] == before["host-2"]


COMMANDS = """
import contextlib, io

from callboard.runtime.cli.main import main as command

def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command([*arguments, "--address", ADDRESS])
        except SystemExit as ended:
            return {"code": ended.code, "out": out.getvalue(), "err": err.getvalue()}
"""
"""The command line, several times in one process: each command connects and disconnects."""


def test_tree_top_and_why_reach_it_through_its_cluster(
    cluster: Cluster, hosts: dict[str, Any]
) -> None:
    said = cluster.said(
        COMMANDS
        + """
say(
    tree=run("tree", "--name", "lasting", "--json"),
    drawn=run("tree"),
    top=run("top", "--name", "lasting", "--once", "--json"),
    why=run("why", "counter", "--name", "lasting", "--json"),
    unknown=run("tree", "--name", "another"),
)
"""
    )
    assert [said[name]["code"] for name in ("tree", "drawn", "top", "why")] == [0, 0, 0, 0], said
    (tree,) = json.loads(said["tree"]["out"])["systems"]
    assert (tree["pid"], tree["name"]) == (0, "lasting")
    assert {"host-1", "host-2"} <= {host["name"] for host in tree["hosts"]}
    assert "lasting  detached" in said["drawn"]["out"]
    (top,) = json.loads(said["top"]["out"])["systems"]
    assert any(row["messages_per_s"] is not None for row in top["hosts"]), "two looks make a rate"
    assert json.loads(said["why"]["out"])["path"] == "/counter"
    assert said["unknown"]["code"] == 1
    assert "Detached systems on this cluster: lasting" in said["unknown"]["err"].replace("\n", " ")


@pytest.mark.soak
def test_what_a_dead_root_has_left_is_found_and_removed(cluster: Cluster) -> None:
    pids = cluster.said(
        """
        async def main():
            async with start(
                name="orphaned", detached=True, address=ADDRESS, hosts=1, standbys=0
            ) as system:
                hosts = await pids(system)
            ray.init(address=ADDRESS, log_to_driver=False, logging_level="ERROR")
            root = await root_pid("orphaned")
            ray.kill(ray.get_actor("orphaned/root", "callboard"), no_restart=True)
            while any(row["name"] == "orphaned/root" for row in
                      ray.util.list_named_actors(all_namespaces=True)):
                await asyncio.sleep(0.02)
            say(root=root, **hosts)

        asyncio.run(main())
        """
    )
    said = cluster.said(
        COMMANDS
        + """
say(
    before=run("doctor", "--json"),
    listed=run("down", "--json"),
    down=run("down", "orphaned", "--json"),
    after=run("doctor", "--json"),
)
"""
    )
    before, after = (
        {check["name"]: check for check in json.loads(said[when]["out"])["checks"]}
        for when in ("before", "after")
    )
    assert (
        f"callboard down orphaned --address {cluster.address}"
        in (before["detached systems"]["advice"])
    )
    assert "orphaned" in json.loads(said["listed"]["out"])["leftovers"]
    down = json.loads(said["down"]["out"])
    assert (down["name"], down["in_order"]) == ("orphaned", False)
    assert "orphaned" not in after["detached systems"]["found"]
    gone(list(pids.values()))


def test_down_leaves_no_process_and_ends_the_waits_of_drivers(cluster: Cluster) -> None:
    driver = cluster.driver(
        """
        async def main():
            async with start(
                name="short", detached=True, address=ADDRESS, hosts=1, standbys=1
            ) as system:
                await (await system.spawn(Counter)).ask(Add())
                say(root=await root_pid("short"), **await pids(system))
                await asyncio.sleep(3600)

        try:
            asyncio.run(main())
        except errors.HostLost as error:
            say(error=str(error))
        """
    )
    pids = list(driver.hear().values())
    stopped = cluster.callboard("down", "short")
    assert stopped.stdout == "short has stopped.\n", stopped.stderr
    assert "error" in driver.hear()
    assert driver.end() == 0
    gone(pids)
    assert "short" not in cluster.callboard("down").stdout


def test_hosts_of_a_killed_driver_end_though_the_cluster_goes_on(cluster: Cluster) -> None:
    driver = cluster.driver(
        """
        async def main():
            async with start(address=ADDRESS, hosts=2, standbys=1) as system:
                await (await system.spawn(Counter)).ask(Add())
                say(**await pids(system))
                await asyncio.sleep(3600)

        asyncio.run(main())
        """
    )
    pids = list(driver.hear().values())
    driver.kill()
    gone(pids)
