"""The review on a cluster of two nodes: it ships itself, and begins only where the tree is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..runtime.detached.cluster import Cluster, joined_node, running_cluster
from .review_runs import ROOT, make_tree, report_in, review

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
OWN_FILES = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
"""A view of the files of its own, as another machine has."""


def review_by_address(
    cluster: Cluster, folder: Path, tree: Path, out: Path
) -> subprocess.CompletedProcess[str]:
    """Run the review from a folder where the nodes find no `examples`."""
    return subprocess.run(
        [sys.executable, "-m", "examples.review", str(tree), "--out", str(out), "--hosts", "2",
         "--address", cluster.address],
        cwd=folder,
        env={**cluster.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=150.0,
    )  # fmt: skip


@pytest.mark.soak
def test_the_review_ships_itself_to_two_nodes(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", ("wsgiref",))
    assert review(tree, "--out", tmp_path / "loop", "--sequential").returncode == 0
    with running_cluster(cpus=1) as cluster, joined_node(cluster):
        done = review_by_address(cluster, tmp_path, tree, tmp_path / "spread")
    assert done.returncode == 0, done.stderr
    assert report_in(tmp_path / "spread") == report_in(tmp_path / "loop")


@pytest.mark.soak
def test_the_review_does_not_begin_where_a_node_has_no_tree(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", ("wsgiref",))
    if not can_hide(tree):
        pytest.skip("this user cannot make a view of the files for one process here")
    hidden = (*OWN_FILES, f'mount -t tmpfs none "{tree}" && exec "$@"', "sh")
    with running_cluster(cpus=1) as cluster, joined_node(cluster, within=hidden):
        refused = review_by_address(cluster, tmp_path, tree, tmp_path / "refused")
    said = " ".join(refused.stderr.split())
    assert refused.returncode == 3, said
    assert f"files of {tree} are missing or differ, the first is bad/" in said
    assert f"on node {os.uname().nodename}" in said
    assert "host-" in said
    assert not list((tmp_path / "refused").glob("report.*"))


def can_hide(tree: Path) -> bool:
    if not shutil.which("unshare"):
        return False
    tried = (*OWN_FILES, f'mount -t tmpfs none "{tree}"')
    return subprocess.run(tried, check=False, capture_output=True).returncode == 0
