"""The modules of a driver on other nodes: named where they are missing, or shipped."""

import pathlib

import pytest

from .cluster import joined_node, running_cluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

SHOP = """
import os

from callboard import Agent, Contract, Request, handler

class Where(Contract):
    path: str
    node: str

class Ask(Request[Where]):
    pass

class Seller(Agent):
    @handler
    async def where(self, request: Ask) -> Where:
        import ray
        return Where(path=__file__, node=ray.get_runtime_context().get_node_id())
"""

DRIVER = """
from callboard import Agent
import shop  # From PYTHONPATH, which only this driver has.

class Local(Agent):
    @handler
    async def where(self, request: shop.Ask) -> shop.Where:
        return shop.Where(path="", node="")

async def outcome_of(awaitable):
    try:
        return await awaitable
    except CallboardError as error:
        return f"{error.code}: {error}"

async def main():
    options = {"address": ADDRESS, "hosts": 2, "standbys": 1, "journal": "off"}
    async with start(**options) as system:
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        starts = (
            system.pool(shop.Seller, size=2),
            system.spawn(Local),
            system.spawn_many([shop.Seller] * 3),
            system.spawn(shop.Seller, host=2),
        )
        missing = [await outcome_of(each) for each in starts]
    async with start(**options, modules=[os.environ["SHOP"]], name="shipped") as system:
        pool = await system.pool(shop.Seller, size=2)
        seen = [await ref.ask(shop.Ask()) for ref in pool.refs]
        os.kill((await pids(system))["host-1"], signal.SIGKILL)
        back = await outcome_of(pool.refs[0].ask(shop.Ask(), timeout_s=60.0))
        for _ in range(100):  # The ask may have been under way to the dead host.
            if isinstance(back, shop.Where):
                break
            back = await outcome_of(pool.refs[0].ask(shop.Ask(), timeout_s=60.0))
        say(
            missing=missing,
            nodes=nodes,
            paths=[where.path for where in [*seen, back]],
            seen=[where.node for where in seen],
        )

asyncio.run(main())
"""


@pytest.mark.soak
def test_a_missing_module_is_named_with_its_nodes_and_a_shipped_one_is_there(
    tmp_path: pathlib.Path,
) -> None:
    shop = tmp_path / "shop.py"
    shop.write_text(SHOP)
    with running_cluster(cpus=1) as cluster, joined_node(cluster):
        said = cluster.said(DRIVER, PYTHONPATH=str(tmp_path), SHOP=str(shop))
    assert len(said["missing"]) == 4
    for text in said["missing"]:
        assert text.startswith("cluster: the actors cannot run: there is no module 'shop'"), said
        assert "callboard run --ship" in text, said
    everywhere = said["missing"][0]
    assert all(node[:8] in everywhere for node in said["nodes"]), said
    assert set(said["seen"]) == set(said["nodes"]), said
    assert all(path.endswith("shop.py") and path != str(shop) for path in said["paths"]), said


@pytest.mark.soak
def test_shipped_modules_of_a_detached_system_outlive_the_driver(tmp_path: pathlib.Path) -> None:
    shop = tmp_path / "shop.py"
    shop.write_text(SHOP)
    variables = {"PYTHONPATH": str(tmp_path), "SHOP": str(shop)}
    with running_cluster(cpus=1) as cluster, joined_node(cluster):
        cluster.said(
            """
            async def main():
                options = {"name": "shop", "detached": True, "address": ADDRESS, "journal": "off"}
                shop = [os.environ["SHOP"]]
                async with start(**options, hosts=2, standbys=0, modules=shop):
                    say(up=True)

            asyncio.run(main())
            """,
            **variables,
        )
        said = cluster.said(
            """
            import shop

            async def main():
                async with attach("shop", address=ADDRESS) as system:
                    os.kill(await root_pid("shop"), signal.SIGKILL)
                    for pid in (await pids(system)).values():
                        os.kill(pid, signal.SIGKILL)
                    pool = await system.pool(shop.Seller, size=2)
                    where = await pool.ask(shop.Ask(), timeout_s=60.0)
                    say(path=where.path)

            asyncio.run(main())
            """,
            **variables,
        )
        assert said["path"].endswith("shop.py")
        assert said["path"] != str(shop)
        assert cluster.callboard("down", "shop").returncode == 0
