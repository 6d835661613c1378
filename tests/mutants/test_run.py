"""A run of a small tree: what is found, what survives, what hangs, and what a kill leaves."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from . import reaching, trial
from .equivalent import entry_for
from .run import Request, Summary, run

CORE: Final = '''"""A core."""


def clamp(value: int, most: int) -> int:
    """At most so many."""
    if value > most:
        return most
    return value


def drain(rows: list[int]) -> None:
    """Takes all rows."""
    while rows:
        rows.pop()
'''
TESTS: Final = """from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).parents[2] / "supervisors"))
import core


def test_clamp():
    assert core.clamp(3, 2) == 2
    assert core.clamp(1, 2) == 1


def test_drain():
    core.drain(rows := [1, 2])
    assert not rows
"""
CLAMP: Final = CORE.partition("\n\n\ndef drain")[0] + "\n"
CLAMP_TESTS: Final = TESTS.partition("\n\n\ndef test_drain")[0] + "\n"
CONFTEST: Final = """from hypothesis import settings

settings.register_profile("mutants", max_examples=10)
"""
SEEDS: Final = """import sys

sys.exit(0)
"""
CONFIGURATION: Final = """[tool.pytest.ini_options]
markers = ["ray", "soak"]
"""
KILLED: Final = """import sys
from pathlib import Path
from tests.mutants.run import Request, run

request = Request(Path(sys.argv[1]), Path(sys.argv[2]))
run(request, lambda line: print(line, flush=True))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One core with one test file, as a repository has them."""
    files = {
        "supervisors/core.py": CORE,
        "tests/supervisors/test_core.py": TESTS,
        "tests/conftest.py": CONFTEST,
        "tests/mutants/seeds.py": SEEDS,
        "tests/mutants/equivalent.toml": "",
        "pyproject.toml": CONFIGURATION,
    }
    files["tests/mutants/reaching.py"] = Path(reaching.__file__).read_text(encoding="utf-8")
    for name, text in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "tree"


@pytest.fixture
def try_all(tree: Path, tmp_path: Path) -> Callable[..., tuple[Summary, list[str]]]:
    """Runs with one session folder; the second value has the lines of progress."""

    def go(*, again: bool = False) -> tuple[Summary, list[str]]:
        lines: list[str] = []
        return run(Request(tree, tmp_path / "sessions", again=again), lines.append), lines

    return go


def digest(tree: Path) -> str:
    return hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file())
    ).hexdigest()


@pytest.mark.soak
def test_what_the_tests_notice_is_found_and_the_rest_is_shown(
    tree: Path, try_all: Callable[..., tuple[Summary, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "MARGIN_S", 4.0)
    before = digest(tree)
    summary, lines = try_all()
    assert digest(tree) == before

    # The tests do not say what becomes of the bound itself: it is the same either way.
    survived = [mutant for mutant, _ in summary.survivors]
    assert [(m.function, m.operator) for m in survived] == [
        ("clamp", "ReplaceComparisonOperator_Gt_GtE")
    ]
    report = summary.report()
    assert "+    if value >= most:" in report
    assert "supervisors/core.py:6 clamp" in report
    assert f"{summary.found} found, 1 survived, 0 to do" in report
    # Without its `pop` the loop never ends.
    assert any("SIGKILL after" in line for line in lines)
    assert any("test_core.py::test_clamp" in line for line in lines)

    # A listed one is no survivor, and its listing begins no new session.
    listed = entry_for(survived[0], CORE).replace("reason = ''", "reason = 'Both are the bound.'")
    gone = listed.replace("value > most", "value > least").replace("'>= most", "'>= least")
    (tree / "tests/mutants/equivalent.toml").write_text(f"{listed}\n{gone}\n", encoding="utf-8")
    again, lines = try_all()
    assert not lines
    assert (again.found, again.survivors, again.share) == (summary.found, [], 1.0)
    assert "delete it: supervisors/core.py clamp" in again.report()


@pytest.mark.soak
def test_a_test_that_finds_a_survivor_is_tried_on_survivors_alone(
    tree: Path, try_all: Callable[..., tuple[Summary, list[str]]]
) -> None:
    core, test = tree / "supervisors/core.py", tree / "tests/supervisors/test_core.py"
    core.write_text(CLAMP, encoding="utf-8")
    test.write_text(CLAMP_TESTS.replace("core.clamp", "min"), encoding="utf-8")
    summary, _ = try_all()
    assert len(summary.survivors) == 3
    test.write_text(CLAMP_TESTS, encoding="utf-8")
    again, lines = try_all(again=True)
    assert [m.name for m in again.drawn] == [m.name for m, _ in summary.survivors]
    assert len(lines) == 1 + len(again.drawn)
    assert (again.found, len(again.survivors)) == (2, 1)


def test_tests_that_fail_without_a_change_find_nothing(
    tree: Path, try_all: Callable[..., tuple[Summary, list[str]]]
) -> None:
    test = tree / "tests/supervisors/test_core.py"
    test.write_text(TESTS.replace("== 1", "== 7"), encoding="utf-8")
    summary, _ = try_all()
    assert not summary.trials
    assert summary.pending == len(summary.drawn)
    assert "fail without a change" in summary.report()


@pytest.mark.soak
def test_a_killed_run_leaves_the_tree_as_it_was_and_goes_on(
    root: Path,
    tree: Path,
    try_all: Callable[..., tuple[Summary, list[str]]],
    tmp_path: Path,
) -> None:
    core, test = tree / "supervisors/core.py", tree / "tests/supervisors/test_core.py"
    core.write_text(CLAMP, encoding="utf-8")
    test.write_text(CLAMP_TESTS, encoding="utf-8")
    before = digest(tree)
    copies = tmp_path / "copies"
    copies.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tree), str(tmp_path / "sessions")],
        cwd=root,
        env={**os.environ, "TMPDIR": str(copies)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        known = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGKILL)
    assert digest(tree) == before

    summary, lines = try_all()
    assert "without a change" in known[0]
    assert summary.pending == 0
    # Two trials were known, and the third may have been written before the kill.
    assert len(summary.trials) - 3 <= len(lines) <= len(summary.trials) - 2
