"""The layers and the purity of cores, by import-linter; and that it would notice a breach."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

FOLDERS: Final = ("actors", "messages", "runtime", "src", "supervisors")
LINT: Final = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of `folder`'s pyproject.toml over the package in its `src`."""
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(folder / "src"), "PATH": "", "NO_COLOR": "1"},
    )


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    for name in FOLDERS:
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(root / name, tmp_path / name, symlinks=True, ignore=ignore)
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept(root: Path) -> None:
    done = lint(root)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "breach"),
    [
        ("supervisors/breach.py", "import callboard.actors", "supervisors -> actors"),
        ("actors/state/breach.py", "import callboard.supervisors", "actors -> supervisors"),
        ("messages/core/breach.py", "import callboard.runtime", "messages -> runtime"),
        ("messages/core/breach.py", "import callboard.messages.jobs", "the core -> jobs"),
        ("messages/core/breach.py", "import ray", "messages -> ray"),
        ("messages/core/breach.py", "import asyncio", "messages -> asyncio"),
        ("actors/state/core.py", "import ray", "a core -> ray"),
        ("actors/state/core.py", "import time", "a core -> the clock"),
        ("runtime/stores/postgres/core.py", "import random", "a core -> chance"),
        ("supervisors/tree.py", "import asyncio", "the tree -> the loop"),
        ("actors/kernel/breach.py", "import callboard.actors.trees", "the kernel -> a role"),
        ("actors/keyed/breach.py", "import callboard.actors.trees", "keyed actors -> trees"),
        ("actors/journal/breach.py", "import callboard.actors.events", "the journal -> events"),
        ("actors/events/breach.py", "import callboard.actors.executions", "events -> executions"),
        ("actors/breach/breach.py", "import callboard.messages", "a role without a floor ->"),
        ("runtime/cache/breach.py", "import callboard.runtime.stores", "the cache -> stores"),
        ("runtime/stores/breach.py", "import callboard.runtime.hosting", "stores -> hosting"),
        (
            "runtime/detached/breach.py",
            "import callboard.runtime.executions",
            "detached -> executions",
        ),
        ("runtime/executions/breach.py", "import ray", "executions -> ray"),
    ],
    ids=lambda value: value if "->" in str(value) else "",
)
def test_a_breach_is_noticed(copy: Path, file: str, line: str, breach: str) -> None:
    target = copy / file
    target.parent.mkdir(exist_ok=True)
    if not (target.parent / "__init__.py").exists():
        (target.parent / "__init__.py").touch()
    target.write_text(f'"""A breach."""\n\n{line}\n')
    done = lint(copy)
    assert done.returncode == 1, f"{breach} went unnoticed:\n{done.stdout}{done.stderr}"
    assert "BROKEN" in done.stdout
