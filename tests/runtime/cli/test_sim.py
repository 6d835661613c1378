"""`callboard sim`: its output and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from callboard.runtime.cli.main import main

from ...simulation.mutations import MUTATIONS


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["sim", *arguments])
    return int(left.value.code or 0)


def test_an_unknown_scenario_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--scenario", "quiet") == 2
    assert "mixed" in capsys.readouterr().err


def test_a_broken_invariant_is_reported_and_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    with MUTATIONS["credit_lost"].applied():
        assert run("--seeds", "1", "--scenario", "links") == 1
        report = capsys.readouterr().out
        assert "links_agree" in report
        assert "callboard sim --first-seed 0 --seeds 1 --scenario links" in report
        assert run("--seeds", "1", "--scenario", "links", "--json") == 1
        found = json.loads(capsys.readouterr().out)
    assert found["broken"][0]["digest"] in report


def test_seeds_that_hold_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--seeds", "2", "--first-seed", "5", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["seeds"] == 2
    assert summary["first_seed"] == 5
    assert summary["broken"] == []


def test_from_a_clone_it_needs_no_other_tests(tmp_path: Path) -> None:
    program = "from callboard.runtime.cli.main import main; main()"
    command = [sys.executable, "-c", program, "sim", "--seeds", "1"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "all invariants held" in ended.stdout, ended.stderr
