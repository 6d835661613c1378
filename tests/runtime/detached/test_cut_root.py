"""The node of a detached root is cut off: a new root takes over, and the old one ends itself.

All processes of the node are stopped, so nothing there answers, and nothing proves its end. Then
the old root alone is continued.
"""

import pathlib

import pytest

from tests.runtime.control_plane.test_ends import Driver

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(280)]

SCRIPT = """
os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_health_check_initial_delay_ms="1000",
    RAY_health_check_period_ms="1000",
    RAY_health_check_timeout_ms="1500",
    RAY_health_check_failure_threshold="4",
)
import contextlib, pathlib
import ray
from ray.cluster_utils import Cluster

class Counter(Actor):
    @handler
    async def where(self, request: Where) -> Reply:
        return Reply(text=str(os.getpid()))

async def root_pid():
    while True:
        with contextlib.suppress(ray.exceptions.RayError):
            return await ray.get_actor("bank/root", "callboard").ping.remote()
        await asyncio.sleep(0.05)

def raylet_of(pid):
    process = psutil.Process(pid)
    while "raylet" not in process.name():
        process = process.parent()
    return process

async def moved(raylet):
    # Ray chooses the node of each root by chance.
    while True:
        pid = await root_pid()
        with contextlib.suppress(psutil.Error):
            if raylet_of(pid).pid == raylet:
                return pid
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.5)

async def ask(ref):
    while True:
        with contextlib.suppress(CallboardError):
            return (await ref.ask(Where(), timeout_s=5.0)).text

async def main(cluster, second, cut):
    options = {"hosts": 2, "standbys": 0, "journal": "off"}
    async with start(
        name="bank", detached=True, address=cluster.address, **options
    ) as system:
        counter = await system.spawn(Counter, name="counter")
        await ask(counter)
        raylet = second.all_processes["raylet"][0].process.pid
        old = psutil.Process(await moved(raylet))
        await system.view()
        cut += [raylet_of(old.pid), *raylet_of(old.pid).children(recursive=True)]
        for process in cut:
            process.suspend()
        while (new := await root_pid()) == old.pid:
            pass
        await ray.get_actor("bank/root", "callboard").ready.remote()
        logs = pathlib.Path(second.get_logs_dir_path())
        (log,) = logs.glob(f"worker-*-{old.pid}.err")
        before = log.read_text()
        old.resume()
        while old.is_running() and old.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)
        say(log=log.read_text()[len(before):])
        await system.spawn(Counter, name="another")
        say(answers=[await ask(counter), await ask(await system.lookup("another"))])
        say(same_root=await root_pid() == new)

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
second = cluster.add_node(num_cpus=2)
cluster.wait_for_nodes()
cut = []
try:
    asyncio.run(main(cluster, second, cut))
finally:
    for process in cut:
        with contextlib.suppress(psutil.Error):
            process.kill()
    cluster.shutdown()
"""


def test_a_root_that_was_cut_off_ends_itself_and_its_successor_has_the_system(
    tmp_path: pathlib.Path,
) -> None:
    driver = Driver(tmp_path, SCRIPT)
    log = driver.hear()["log"]
    assert "this root of bank ends itself: a newer root has taken its place" in log
    assert "dropped" not in log, "it has acted"
    assert len(driver.hear()["answers"]) == 2
    assert driver.hear()["same_root"]
    driver.end()
