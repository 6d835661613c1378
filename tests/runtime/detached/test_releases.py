"""A detached system and all that joins it run one release, also after its root came back."""

import os
import pathlib
import signal

import pytest

from ..control_plane.test_releases import another_version, copy_of
from .cluster import Cluster, running_cluster

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(180)]

ATTACH = """
async def main():
    try:
        async with attach("shop", address=ADDRESS):
            say(text="attached")
    except CallboardError as error:
        say(text=str(error), code=error.code)

asyncio.run(main())
"""


def point(link: pathlib.Path, target: pathlib.Path) -> None:
    """Let the path of the cluster's processes lead to another copy, as an installation does."""
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def tree_until(cluster: Cluster, text: str) -> None:
    """Ask for the tree until the root says this; the root itself makes each answer wait."""
    said = ""
    for _ in range(20):
        seen = cluster.callboard("tree")
        said = seen.stdout + seen.stderr
        if text in said:
            return
    raise AssertionError(said)


def test_a_driver_or_root_of_another_release_is_refused_until_the_release_is_back(
    tmp_path: pathlib.Path,
) -> None:
    same = copy_of(tmp_path / "same", lambda _: None)
    other = copy_of(tmp_path / "other", another_version)
    site = tmp_path / "site"
    point(site, same)
    with running_cluster(path=site) as cluster:
        root = cluster.said(
            """
            async def main():
                options = {"name": "shop", "detached": True, "address": ADDRESS}
                async with start(**options, hosts=1, standbys=0, journal="off"):
                    say(root=await root_pid("shop"))

            asyncio.run(main())
            """
        )["root"]
        refused = cluster.said(ATTACH, PYTHONPATH=str(other))
        assert refused["code"] == "cluster"
        assert "the root of 'shop' runs Callboard 0" in refused["text"]
        assert "this driver Callboard 9.9.9" in refused["text"]
        assert cluster.said(ATTACH)["text"] == "attached"

        point(site, other)
        os.kill(root, signal.SIGKILL)
        tree_until(cluster, "the root of 'shop' on node ")
        assert "9.9.9" in cluster.callboard("tree").stdout

        point(site, same)
        tree_until(cluster, "host-1")
        assert cluster.said(ATTACH)["text"] == "attached"
