"""A seed is a whole run: the same trace in every process, whatever the hash seed."""

import os
import subprocess
import sys

import pytest

from callboard.runtime.simulation.run import run_seed
from callboard.runtime.simulation.scenarios import SCENARIOS

SEEDS = 5
PROGRAM = f"""
from callboard.runtime.simulation.run import run_seed
from callboard.runtime.simulation.scenarios import SCENARIOS
for name, scenario in SCENARIOS.items():
    for seed in range({SEEDS}):
        print(name, seed, run_seed(name, scenario, seed).digest)
"""


def test_another_hash_seed_changes_nothing() -> None:
    said = []
    for hash_seed in ("1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout.splitlines())
    assert said[0] == said[1]
    assert len(said[0]) == SEEDS * len(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_seed_is_the_same_run_again_after_others(name: str) -> None:
    scenario = SCENARIOS[name]
    first = run_seed(name, scenario, 3)
    run_seed(name, scenario, 4)
    assert run_seed(name, scenario, 3) == first


def test_another_seed_is_another_run() -> None:
    digests = {run_seed("mixed", SCENARIOS["mixed"], seed).digest for seed in range(10)}
    assert len(digests) == 10
