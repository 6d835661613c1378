"""The pytest plugin: many seeds for one test, and the number of the failing seed."""

import os
import pathlib
import subprocess
import sys

import pytest

PLUGIN = "callboard.runtime.testing.plugin"
TEST = """
import pytest

seen = []

@pytest.mark.callboard_seeds(5, first=2)
def test_seeds(callboard_seed):
    seen.append(callboard_seed)
    assert callboard_seed != 4 or FINE

def test_which():
    print("seen", seen)
"""


def run(folder: pathlib.Path, *arguments: str, fine: bool) -> tuple[int, str]:
    (folder / "test_it.py").write_text(TEST.replace("FINE", str(fine)), encoding="utf-8")
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-p", PLUGIN, "-s", *arguments),
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_failing_seed_is_named(tmp_path: pathlib.Path) -> None:
    code, said = run(tmp_path, fine=False)
    assert code == 1
    assert "seed 4: pytest --callboard-first-seed 4 --callboard-seeds 1" in said
    assert "seen [2, 3, 4]" in said


@pytest.mark.parametrize(
    ("arguments", "seeds"),
    [
        ((), "[2, 3, 4, 5, 6]"),
        (("--callboard-first-seed", "9"), "[9, 10, 11, 12, 13]"),
        (("--callboard-first-seed", "9", "--callboard-seeds", "1"), "[9]"),
    ],
)
def test_the_seeds_are_those_of_the_mark_or_the_command_line(
    tmp_path: pathlib.Path, arguments: tuple[str, ...], seeds: str
) -> None:
    code, said = run(tmp_path, *arguments, fine=True)
    assert code == 0
    assert f"seen {seeds}" in said


def test_the_plugin_imports_nothing_heavy() -> None:
    heavy = ("ray", "pydantic", "numpy")
    program = f"import sys, {PLUGIN}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
