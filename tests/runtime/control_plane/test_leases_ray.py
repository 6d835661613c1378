"""Leases with real processes: cut nodes, stopped hosts, roots that end for good or are suspended.

The nodes of these clusters are one machine. So a driver says that its process ids are those of
another one, where the kernel must give no proof.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import time

import psutil
import pytest

from .test_ends import Driver, gone

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

CLUSTER = """
import os, time
os.environ["RAY_AUTH_MODE"] = "disabled"
from ray.cluster_utils import Cluster
from callboard.messages.control.views import QueryActor
from callboard.runtime.api.inside import host_of, root_of
from callboard.runtime.control_plane.control import ROOT_ENDPOINT
from callboard.runtime.transport import process_watch

TIMES = {"heartbeat_s": 1.0, "heartbeats_missed_max": 4, "lease_s": 6.0}

async def answer(ref):
    while True:
        try:
            return (await ref.ask(Where(), timeout_s=60.0)).text
        except CallboardError as error:
            print(error, file=sys.stderr)
"""


def has_ended(pid: int) -> bool:
    """Whether a process runs no more; its parent may be stopped, and not have waited for it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until_ended(pid: int, within_s: float) -> float:
    """Wait until a process has ended; returns after how many seconds."""
    began_s = time.monotonic()
    while not has_ended(pid):
        assert time.monotonic() < began_s + within_s, f"process {pid} has not ended"
        os.sched_yield()
    return time.monotonic() - began_s


def stop_node(raylet: int) -> list[psutil.Process]:
    """Stop all processes of a node, so that nothing reaches them."""
    node = psutil.Process(raylet)
    stopped = [node, *node.children(recursive=True)]
    for process in stopped:
        process.suspend()
    return stopped


@pytest.mark.soak
def test_a_host_that_cannot_be_reached_is_replaced_after_its_lease_and_a_dead_one_at_once(
    tmp_path: pathlib.Path,
) -> None:
    """A driver that computes for longer than a lease loses no host before."""
    driver = Driver(
        tmp_path,
        CLUSTER
        + """
async def main(cluster, second):
    process_watch._namespace = lambda: "elsewhere"
    async with start(address=cluster.address, hosts=2, standbys=2, **TIMES) as system:
        slots = root_of(system).table.slots
        refs = {number: await system.spawn(Sleepy, host=number) for number in slots}
        nodes = {number: await answer(ref) for number, ref in refs.items()}
        far = next(n for n, node in nodes.items() if node == second.node_id)
        assert slots[far].process.is_leased
        time.sleep(8.0)
        assert [slot.epoch for slot in slots.values()] == [1, 1]
        say(
            pid=slots[far].process.pid,
            raylet=second.all_processes["raylet"][0].process.pid,
        )
        began_s, seen, notes = time.monotonic(), {}, {}
        while slots[far].epoch == 1:
            host = (await system.view()).hosts[far]
            seen.setdefault(host.problem, time.monotonic() - began_s)
            query = QueryActor(path=slots[far].name)
            (match,) = (await host_of(system).ask(ROOT_ENDPOINT, query, 10.0)).matches
            notes.setdefault(match.note, 0)
        await answer(refs[far])
        say(seen=seen, notes=list(notes), moved_s=time.monotonic() - began_s)

        os.kill(slots[far].process.pid, signal.SIGKILL)
        began_s = time.monotonic()
        while slots[far].epoch == 2:
            await asyncio.sleep(0.01)
        await answer(refs[far])
        say(again_s=time.monotonic() - began_s)

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
second = cluster.add_node(num_cpus=3)
cluster.wait_for_nodes()
try:
    asyncio.run(main(cluster, second))
finally:
    cluster.shutdown()
""",
    )
    heard = driver.hear()
    stopped = stop_node(heard["raylet"])
    try:
        ended_s = until_ended(heard["pid"], 60.0)
        said = driver.hear()
    finally:
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
    assert ended_s < said["moved_s"]
    texts = " ".join([*said["seen"], *said["notes"]])
    assert "silent for" in texts
    assert "given up; its slot is taken over in at most" in texts
    assert any("given up" in note for note in said["notes"])
    lines = driver.errors.read_text()
    assert lines.count("is silent; new work goes to other hosts") == 1
    assert lines.count("the lease of the last process of") == 1
    driver.hear()
    assert driver.end() == 0
    assert driver.errors.read_text().count("the lease of the last process of") == 1


@pytest.mark.soak
def test_hosts_of_a_suspended_root_on_their_machine_live_and_of_a_dead_one_end(
    tmp_path: pathlib.Path,
) -> None:
    driver = Driver(
        tmp_path,
        """
        async def main(system):
            resumed = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, resumed.set)
            say(pids=[host.pid for host in (await system.view()).hosts[1:]])
            await resumed.wait()
            say(epochs=[host.epoch for host in (await system.view()).hosts[1:]])
            await asyncio.sleep(3600)

        run(main, hosts=2, standbys=0, heartbeat_s=0.2, heartbeats_missed_max=2, lease_s=1.0)
        """,
    )
    pids = driver.hear()["pids"]
    os.kill(driver.process.pid, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        driver.process.wait(4.0)
    os.kill(driver.process.pid, signal.SIGCONT)
    os.kill(driver.process.pid, signal.SIGUSR1)
    assert driver.hear()["epochs"] == [1, 1]
    driver.process.kill()
    gone(pids)
    driver.process.communicate(timeout=60.0)


@pytest.mark.soak
def test_hosts_of_a_detached_root_that_ended_for_good_end_with_their_leases(
    tmp_path: pathlib.Path,
) -> None:
    driver = Driver(
        tmp_path,
        CLUSTER
        + """
import ray
async def main(cluster):
    async with start(
        name="lonely", detached=True, address=cluster.address, hosts=2, standbys=1, **TIMES
    ) as system:
        view = await system.view()
        pids = [host.pid for host in view.hosts[1:]]
        pids += [standby.pid for standby in view.standby_processes]
        root = ray.get_actor("lonely/root", "callboard")
        say(pids=pids)
        ray.kill(root, no_restart=True)
        await asyncio.sleep(3600)

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
try:
    asyncio.run(main(cluster))
except CallboardError as error:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    say(error=str(error))
    signal.sigwait({signal.SIGUSR1})
finally:
    cluster.shutdown()
""",
    )
    pids = driver.hear()["pids"]
    assert "has ended" in driver.hear()["error"]
    for pid in pids:
        until_ended(pid, 30.0)
    driver.process.send_signal(signal.SIGUSR1)
    driver.process.communicate(timeout=60.0)


@pytest.mark.soak
def test_hosts_of_a_dead_control_store_end_and_their_driver_says_why(
    tmp_path: pathlib.Path,
) -> None:
    driver = Driver(
        tmp_path,
        CLUSTER
        + """
async def main(cluster, second):
    process_watch._namespace = lambda: "elsewhere"
    async with start(address=cluster.address, hosts=2, standbys=0, **TIMES) as system:
        slots = root_of(system).table.slots.values()
        assert all(slot.process.is_leased for slot in slots)
        (store,) = cluster.head_node.all_processes["gcs_server"]
        say(pids=[slot.process.pid for slot in slots], store=store.process.pid)
        await asyncio.sleep(3600)

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
second = cluster.add_node(num_cpus=3)
cluster.wait_for_nodes()
try:
    asyncio.run(main(cluster, second))
except CallboardError as error:
    say(error=str(error))
os._exit(0)  # Without its control store Ray takes a minute to say goodbye.
""",
    )
    heard = driver.hear()
    nodes = _processes_of_cluster(driver)
    try:
        os.kill(heard["store"], signal.SIGKILL)
        for pid in heard["pids"]:
            until_ended(pid, 30.0)
        assert "control store has not answered" in driver.hear()["error"]
        assert driver.end() == 0
    finally:
        for process in nodes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _processes_of_cluster(driver: Driver) -> list[psutil.Process]:
    return psutil.Process(driver.process.pid).children(recursive=True)
