"""A node is lost with an isolated host that only its labels can hold: it waits for another."""

import pathlib

import pytest

from .test_ends import Driver, gone

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(120)]


def test_isolated_actor_waits_for_a_node_with_its_labels_and_says_so(
    tmp_path: pathlib.Path,
) -> None:
    driver = Driver(
        tmp_path,
        """
        os.environ["RAY_AUTH_MODE"] = "disabled"
        from ray.cluster_utils import Cluster
        from callboard.placement import Placement, Resources

        async def answer(ref):
            while True:
                try:
                    return (await ref.ask(Where(), timeout_s=60.0)).text
                except CallboardError as error:
                    print(error, file=sys.stderr)

        async def main(cluster, second):
            async with start(
                address=cluster.address, hosts=1, standbys=0, heartbeat_s=0.5
            ) as system:
                zone = Resources(cpus=1, node_labels={"zone": "a"})
                ref = await system.spawn(Sleepy, placement=Placement(isolated=zone))
                say(before=await answer(ref), pids=family())
                await asyncio.to_thread(cluster.remove_node, second)
                while True:
                    hosts = (await system.view()).hosts
                    waits = [host for host in hosts if "zone=a" in host.problem]
                    if waits:
                        break
                    await asyncio.sleep(0.1)
                say(problem=waits[0].problem)
                cluster.add_node(num_cpus=2, labels={"zone": "a"})
                say(after=await answer(ref))

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        second = cluster.add_node(num_cpus=2, labels={"zone": "a"})
        cluster.wait_for_nodes()
        try:
            asyncio.run(main(cluster, second))
        finally:
            cluster.shutdown()
        """,
    )
    said = driver.hear()
    assert "none of 1 living nodes has the labels zone=a" in driver.hear()["problem"]
    assert driver.hear()["after"] != said["before"]
    assert driver.end() == 0
    gone(said["pids"])
