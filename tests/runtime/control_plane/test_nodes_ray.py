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


@pytest.mark.soak
def test_hosts_are_where_cpus_are_and_leave_a_draining_node_under_load(
    tmp_path: pathlib.Path,
) -> None:
    driver = Driver(
        tmp_path,
        PARTS
        + """
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


AUTOSCALED = """
import signal, socket, subprocess
from ray.autoscaler.sdk import request_resources

PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
HEAD, HEAD_TYPE = "f" * 51 + "00000", "ray.head.default"
RESOURCES = {"CPU": 2, "object_store_memory": 100_000_000}
CONFIG = dict.fromkeys(
    ["initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
     "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files",
     "rsync_exclude", "rsync_filter"], []
) | {
    "cluster_name": "callboard-test", "max_workers": 2, "upscaling_speed": 1.0,
    "idle_timeout_minutes": 0.05, "auth": {}, "docker": {}, "file_mounts": {},
    "file_mounts_sync_continuously": False, "head_node_type": HEAD_TYPE,
    "provider": {"type": "external", "module": PROVIDER, "use_node_id_as_ip": True,
                 "head_node_id": HEAD},
    "available_node_types": {
        HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": RESOURCES, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
}

def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

def begin():
    config = FOLDER + "/cluster.json"
    port = free_port()
    address = f"{ray._private.services.get_node_ip_address()}:{port}"
    CONFIG["provider"]["gcs_address"] = address
    with open(config, "w") as file:
        json.dump(CONFIG, file)
    environment = os.environ | {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    is_new = VERSION == "v2"
    environment |= {"RAY_enable_autoscaler_v2": str(int(is_new))}
    environment |= {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD, "RAY_CLOUD_INSTANCE_ID": HEAD}
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        "--num-cpus=0", f"--port={port}", "--include-dashboard=false",
        "--ray-client-server-port=" + str(free_port()),
        "--object-store-memory=100000000", "--autoscaling-config=" + config,
    ]
    with open(FOLDER + "/ray.log", "w") as log:
        ray_process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    return ray_process, address

def workers():
    return {n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU")}

async def reach(condition):
    while not condition():
        await asyncio.sleep(0.1)

async def answers(address):
    host, _, port = address.partition(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return

async def main(address):
    await answers(address)
    ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    request_resources(num_cpus=2)
    await reach(lambda: len(workers()) == 1)
    limits = AutoHosts(idle_s=3.0)
    async with start(address=address, hosts=limits, standbys=0, start_timeout_s=90.0) as system:
        (first,) = workers()
        say(there=list(there(system).values()))
        refs = [await system.spawn(Slow) for _ in range(2)]
        load = Load(refs)
        request_resources(num_cpus=4)
        await reach(lambda: len(workers()) == 2 and sum(there(system).values()) == 4)
        (second,) = workers() - {first}
        say(there=sorted(there(system).values()))
        # The hosts of the second node are empty, and the only ones that are: the node stays.
        request_resources(num_cpus=0)
        more = [await system.spawn(Slow) for _ in range(2)]
        say(spread=len({(await ref.ask(Where())).text for ref in more}))
        for ref in more:
            await system.stop(ref)
        before = load.done
        await reach(lambda: load.done > before + 100)
        assert len(workers()) == 2
        # With no work at all one node is enough.
        await load.end()
        for ref in refs:
            await system.stop(ref)
        await reach(lambda: len(workers()) == 1)
        say(left=sum(there(system).values()))

ray_process, address = begin()
family = []
try:
    asyncio.run(asyncio.wait_for(main(address), 200.0))
finally:
    family = psutil.Process(ray_process.pid).children(recursive=True)
    ray_process.send_signal(signal.SIGTERM)
    try:
        ray_process.wait(20)
    except subprocess.TimeoutExpired:
        ray_process.kill()
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
    say(pids=[process.pid for process in family])
"""


@pytest.mark.soak
@pytest.mark.timeout(260)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_hosts_follow_an_autoscaler_and_give_idle_nodes_back(
    tmp_path: pathlib.Path, version: str
) -> None:
    driver = Driver(
        tmp_path,
        PARTS
        + f"""
VERSION = {version!r}
FOLDER = {str(tmp_path)!r}
"""
        + AUTOSCALED,
    )
    assert driver.hear()["there"] == [2]
    assert driver.hear()["there"] == [2, 2]
    assert driver.hear()["spread"] >= 1
    result = driver.hear()
    assert result["failed"] == []
    assert result["done"] > 100
    assert driver.hear()["left"] == 2
    gone(driver.hear()["pids"])
    assert driver.end() == 0
