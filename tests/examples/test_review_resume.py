"""A review whose driver is killed: `callboard ls` shows it, `callboard resume` ends it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import psutil
import pytest

from .review_runs import ROOT, command, make_tree, report_in, review

SILENCE_MAX_S: Final = 10.0
"""Lines come every 3 s on a free machine, and are promised every 5 s."""
CALLBOARD: Final = "from callboard.runtime.cli.main import main; main()"


@pytest.mark.ray
@pytest.mark.soak
def test_a_killed_review_is_listed_and_resumed_to_the_same_report(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", ("asyncio", "email", "json"))
    expected = review(tree, "--out", tmp_path / "expected", "--sequential", "--json")
    assert expected.returncode == 0, expected.stderr
    environment = {**os.environ, "CALLBOARD_HOME": str(tmp_path / "home")}

    def callboard(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", CALLBOARD, *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180.0,
            check=False,
        )  # fmt: skip

    lines, silences = killed_in_the_middle(tree, tmp_path / "out", environment)
    assert "starting Ray" in lines[0]
    assert max(silences) < SILENCE_MAX_S
    assert not (tmp_path / "out" / "report.json").exists()
    assert (tmp_path / "home" / "journals" / "review.db").exists()

    (row,) = json.loads(callboard("ls", "--json").stdout)["executions"]
    assert (row["job"], row["interrupted"]) == ("review", True)
    assert row["done"] > 0
    resumed = callboard("resume", row["id"])
    assert resumed.returncode == 0, resumed.stderr
    assert report_in(tmp_path / "out") == report_in(tmp_path / "expected")
    (row,) = json.loads(callboard("ls", "--json").stdout)["executions"]
    assert row["status"] == "completed"


def killed_in_the_middle(
    tree: Path, out: Path, environment: dict[str, str]
) -> tuple[list[str], list[float]]:
    """Kill a review once it has results; gives its lines, and the silence before each."""
    lines: list[str] = []
    silences: list[float] = []
    with subprocess.Popen(
        command(tree, "--out", out, "--hosts", "2"),
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as driver:  # fmt: skip
        assert driver.stderr is not None
        last_s = time.monotonic()
        for line in driver.stderr:
            lines.append(line)
            silences.append(time.monotonic() - last_s)
            last_s = time.monotonic()
            if "running | " in line and " 0 of " not in line:
                break
        children = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
        driver.wait()
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    return lines, silences
