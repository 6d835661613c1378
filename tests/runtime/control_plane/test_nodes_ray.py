"""Hosts on the nodes of a real Ray cluster: where they go, and how they leave."""

import pathlib

import pytest

from .test_ends import Driver, gone

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

PARTS = """
import collections, time
os.environ["RAY_AUTH_MODE"] = "disabled"
import ray
from ray.cluster_utils import Cluster
from callboard.placement import AutoHosts
from callboard.runtime.api.inside import root_of

class Slow(Agent):
    @handler
    async def where(self, request: Where) -> Reply:
        await asyncio.sleep(0.02)
        return Reply(text=ray.get_runtime_context().get_node_id())

def there(system):
    slots = root_of(system).table.slots.values()
    return collections.Counter(slot.process.node for slot in slots if slot.is_up)

async def until(system, wanted):
    while there(system) != wanted:
        await asyncio.sleep(0.1)

class Load:
    def __init__(self, refs):
        self.done, self.failed, self.is_over = 0, [], False
        self.tasks = [asyncio.create_task(self.ask(ref)) for ref in refs]

    async def ask(self, ref):
        while not self.is_over:
            try:
                await ref.ask(Where())
                self.done += 1
            except CallboardError as error:
                self.failed.append(str(error))
                await asyncio.sleep(0.5)

    async def end(self):
        self.is_over = True
        await asyncio.gather(*self.tasks)
        say(done=self.done, failed=self.failed)

def drain(cluster, node, seconds):
    preemption, until_ms = 2, int((time.time() + seconds) * 1000)
    client = ray._raylet.GcsClient(address=cluster.address)
    assert client.drain_node(node.node_id, preemption, "a test", until_ms)[0]
"""


def driver_of(folder: pathlib.Path, text: str) -> Driver:
    (folder / "parts.py").write_text(PARTS, encoding="utf-8")
    return Driver(folder, PARTS_FIRST + text)


PARTS_FIRST = """
exec(compile(open(os.path.dirname(os.path.abspath(__file__)) + "/parts.py").read(), "parts", "exec"))
"""


def test_hosts_are_where_cpus_are_and_leave_a_draining_node_under_load(
    tmp_path: pathlib.Path,
) -> None:
    driver = driver_of(
        tmp_path,
        """
async def main(cluster, one, two):
    async with start(address=cluster.address, hosts=AutoHosts(), standbys=1) as system:
        say(there=there(system), one=one.node_id, two=two.node_id, pids=processes())
        load = Load([await system.spawn(Slow) for _ in range(6)])
        three = cluster.add_node(num_cpus=1)
        await until(system, {one.node_id: 2, two.node_id: 1, three.node_id: 1})
        drain(cluster, two, 60.0)
        while two.node_id in there(system) or sum(there(system).values()) < 4:
            await asyncio.sleep(0.1)
        cluster.remove_node(two)
        before = load.done
        while load.done < before + 100:
            await asyncio.sleep(0.1)
        await load.end()

cluster = Cluster(
    initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
)
one, two = cluster.add_node(num_cpus=2), cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
try:
    asyncio.run(main(cluster, one, two))
finally:
    cluster.shutdown()
""",
    )
    said = driver.hear()
    assert said["there"] == {said["one"]: 2, said["two"]: 1}
    result = driver.hear()
    assert result["failed"] == []
    assert result["done"] > 100
    assert driver.end() == 0
    gone(said["pids"])
