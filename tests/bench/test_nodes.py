"""`nodes`: its check and names, a cluster that exists, and the loss of real nodes."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from bench.nodes import PATHS, Tally, expected_nodes
from bench.outcome import Outcome
from bench.registry import bench_named
from bench.rounds import REPOSITORY, run_bench

NODES = bench_named("nodes")
SMALL = {**NODES.ours.smoke, "losses": 1, "root_losses": 1}


@pytest.mark.parametrize("part", ["messages", "sub_tasks", "megabytes", "losses", "root_losses"])
def test_less_work_of_any_part_changes_the_check(part: str) -> None:
    params = {**SMALL, "megabytes": 200}
    assert expected_nodes(params) != expected_nodes({**params, part: params[part] - 1})


def test_side_without_a_part_has_a_check_of_the_others() -> None:
    assert expected_nodes({**SMALL, "losses": 0, "root_losses": 0}) == expected_nodes(
        {name: size for name, size in SMALL.items() if name not in {"losses", "root_losses"}}
    )


def test_both_paths_are_named_and_set_into_a_ratio() -> None:
    tally = Tally()
    for path, rate in zip(PATHS, (80.0, 20.0), strict=True):
        tally.add(path, "asks", Outcome({"pipelined_per_s": rate}, "same"))
    after = [{"noticed": 1.0, "all_answering": 4.0}, {"noticed": 3.0, "all_answering": 6.0}]
    tally.add_losses("losses", "node_loss", after, "numbers")
    assert tally.outcome().results == {
        "within_pipelined_per_s": 80.0,
        "between_pipelined_per_s": 20.0,
        "between_over_within_pipelined": 0.25,
        "node_loss_noticed_s_median": 2.0,
        "node_loss_noticed_s_worst": 3.0,
        "node_loss_all_answering_s_median": 5.0,
        "node_loss_all_answering_s_worst": 6.0,
    }


def test_cluster_that_exists_loses_no_node_and_keeps_its_settings() -> None:
    bench = NODES.on_cluster("10.0.0.1:6379")
    assert bench.environment == {}
    for side in (bench.ours, *bench.peers):
        for smoke in (True, False):
            params = side.params(smoke=smoke)
            assert params["address"] == "10.0.0.1:6379"
            assert not params["losses"]
            assert not params["root_losses"]


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.timeout(400)
def test_nodes_are_lost_and_all_actors_answer_again() -> None:
    small = replace(
        NODES,
        ours=replace(NODES.ours, full=SMALL),
        peers=tuple(
            replace(peer, full={**peer.smoke, "losses": 1})
            for peer in NODES.peers
            if "losses" in peer.smoke
        ),
    )
    report = run_bench(small, smoke=False, repeat=1, all_peers=False)
    assert not report.failures, report.failures
    ours = report.ours.results
    assert ours["node_loss_noticed_s_worst"] <= ours["node_loss_all_answering_s_worst"]
    assert ours["root_loss_root_answers_s_worst"] > 0
    assert "ray_async_actor.node_loss_all_answering_s_median" in report.ratios


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.timeout(520)
def test_cluster_that_exists_is_measured_once_it_has_two_nodes() -> None:
    code = """
        import json, os, subprocess, sys
        from bench.cluster import node_cluster

        def bench(address):
            command = [sys.executable, "-m", "bench", "nodes", "--smoke", "--json"]
            ran = subprocess.run([*command, "--address", address], capture_output=True, text=True)
            return json.loads(ran.stdout)

        with node_cluster() as cluster:
            alone = bench(cluster.address)
            cluster.add()
            before = cluster.living()
            report = bench(cluster.address)
            left = cluster.living() == before
        print(json.dumps({"alone": alone, "report": report, "left": left}))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=REPOSITORY,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    said = json.loads(ran.stdout.splitlines()[-1])
    assert "has one node with processors" in said["alone"]["ours"]["reason"]
    assert said["left"]
    report = said["report"]
    assert report["ours"]["status"] == "measured", report["ours"]["reason"]
    assert report["ours"]["results"].keys() >= {"within_pipelined_per_s", "sub_tasks_per_s"}
    assert "belongs to others" in report["ours"]["notes"][0]
    assert {peer["status"] for peer in report["peers"].values()} == {"measured"}
