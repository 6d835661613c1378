"""A seed determines a run: the trace is the same in every process, for any hash seed."""

import os
import subprocess
import sys

import pytest

from .run import run_seed
from .scenarios import SCENARIOS

SEEDS = 5
PROGRAM = f"""
from callboard.runtime.cli.sim import load_built_in
run_seed = load_built_in("run").run_seed
SCENARIOS = load_built_in("scenarios").SCENARIOS
for name, scenario in SCENARIOS.items():
    for seed in range({SEEDS}):
        print(name, seed, run_seed(name, scenario, seed).digest)
"""


@pytest.mark.soak
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
    assert said[0][0] == f"mixed 0 {run_seed('mixed', SCENARIOS['mixed'], 0).digest}"
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
