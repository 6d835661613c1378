"""A user's `messages.py`, `actors.py`, ... next to a driver script have nothing to do with ours.

Python puts the script's folder first on its path, and Ray does so in its workers. Bare imports
of our folders would find the user's files there.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

NAMES: Final = ("actors", "bench", "examples", "messages", "runtime", "supervisors")
DRIVER: Final = """
import importlib, pkgutil, sys
import callboard
for module in pkgutil.walk_packages(callboard.__path__, "callboard."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
ours = {name.partition(".")[0] for name in sys.modules} & set(sys.argv[1:])
assert not ours, f"imported bare: {ours}"
import messages
assert messages.MINE == "messages"
print("reached the end")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"MINE = {name!r}\n")
    (tmp_path / "driver.py").write_text(DRIVER)
    return tmp_path


def test_a_driver_next_to_files_of_our_names_imports_everything(project: Path) -> None:
    command = [sys.executable, "driver.py", *NAMES]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "reached the end"


def test_so_does_one_whose_files_raise_when_imported(project: Path) -> None:
    for name in NAMES:
        (project / f"{name}.py").write_text("raise RuntimeError('a file of the user ran')\n")
    (project / "driver.py").write_text(DRIVER.partition("import messages")[0])
    command = [sys.executable, "driver.py", *NAMES]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=project)
    assert done.returncode == 0, done.stderr
