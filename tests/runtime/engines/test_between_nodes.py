"""Frames between two nodes of a real cluster: TCP, its breaks, its replacement, and its return."""

import json
import pathlib
import signal
import subprocess
import sys
from typing import Any, Final

import pytest

from . import between_nodes

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
PROGRAM: Final = pathlib.Path(between_nodes.__file__)
LIMIT_S: Final = 120.0
Outcomes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """One run for all tests: most of its time goes into the start of the cluster."""
    command = [sys.executable, str(PROGRAM)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as driver:
        try:
            out, errors = driver.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            driver.send_signal(signal.SIGINT)  # So that it ends its cluster.
            out, errors = driver.communicate(timeout=LIMIT_S)
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert driver.returncode == 0, errors[-3_000:]
    return {line.pop("scenario"): line for line in lines}


def test_the_two_hosts_are_on_two_nodes(outcomes: Outcomes) -> None:
    assert len(set(outcomes["places"]["nodes"])) == 2


def test_hosts_of_two_nodes_use_tcp(outcomes: Outcomes) -> None:
    assert outcomes["lone"]["ways"]["tcp"] >= 1
    assert outcomes["lone"]["ways"]["calls"] == 0


def test_each_ask_is_handled_once_and_in_order_while_connections_break(outcomes: Outcomes) -> None:
    breaking = outcomes["breaking"]
    assert breaking["breaks"] >= between_nodes.ASKS // between_nodes.BREAK_EVERY
    assert breaking["seen_are_right"]
    assert breaking["replies_are_right"]


def test_ray_calls_replace_a_connection_that_cannot_be_made_until_it_can(
    outcomes: Outcomes,
) -> None:
    firewall = outcomes["firewall"]
    assert firewall["answered"] == list(range(20))
    assert firewall["during"]["tcp"] == 0
    assert firewall["during"]["calls"] >= 1
    assert firewall["after"] == firewall["before"]


def test_a_large_value_goes_by_the_connection_and_not_by_the_object_store(
    outcomes: Outcomes,
) -> None:
    values = outcomes["values"]
    assert values["size"] == between_nodes.LARGE_BYTES
    assert values["by_frames"] >= 2 * between_nodes.LARGE_BYTES


def test_a_driver_and_a_host_of_another_node_use_tcp_both_ways(outcomes: Outcomes) -> None:
    assert outcomes["driver"]["ways"] == {"tcp": 1, "calls": 0}
    assert outcomes["driver"]["to_driver"]["tcp"] >= 1
    assert outcomes["driver"]["to_driver"]["calls"] == 0


def test_asks_at_a_killed_host_of_another_node_fail_and_its_successor_answers(
    outcomes: Outcomes,
) -> None:
    assert outcomes["killed"]["error"] == "host_lost"
    assert outcomes["again"]["answered"] == 7
