"""Hubs on two nodes of a real cluster serve the same channels, and clients move between them."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("jwt")

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(240)]
LIMIT_S = 200.0


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One run for all tests: most of its time goes into the start of the cluster."""
    folder = tmp_path_factory.mktemp("nodes")
    program = "tests.runtime.api.ui.hubs_on_two_nodes"
    with subprocess.Popen(
        [sys.executable, "-m", program, str(folder)],
        cwd=Path(__file__).parents[4],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as driver:
        try:
            out, errors = driver.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            driver.send_signal(signal.SIGINT)  # So that it ends its cluster.
            out, errors = driver.communicate(timeout=30.0)
    assert driver.returncode == 0, errors[-3_000:]
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return {line.pop("scenario"): line for line in lines}


def test_each_node_has_a_hub(outcomes: dict[str, dict[str, Any]]) -> None:
    assert len(set(outcomes["places"]["raylets"])) == 2
    assert len(set(outcomes["places"]["ports"])) == 2


@pytest.mark.parametrize(("scenario", "events"), [("killed", 50), ("node_lost", 120)])
def test_clients_move_to_the_hub_of_the_other_node_and_lose_and_repeat_nothing(
    outcomes: dict[str, dict[str, Any]], scenario: str, events: int
) -> None:
    """After kill -9 of their hub, and then after the loss of the node of the other one."""
    found = outcomes[scenario]
    assert not found["holes_or_repeats"]
    assert found["lost"] == 0
    assert found["events"] >= events
