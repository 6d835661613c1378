"""The layers and the purity of cores, by import-linter; and that it would notice a breach."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

FOLDERS: Final = ("actors", "messages", "runtime", "src", "supervisors")
LINT: Final = "from importlinter.cli import lint_imports_command; lint_imports_command()"
BREACHES: Final = (
    ("supervisors/breach.py", "callboard.actors"),
    ("actors/state/breach.py", "callboard.supervisors"),
    ("messages/core/breach.py", "callboard.runtime"),
    ("messages/core/breach.py", "callboard.messages.jobs"),
    ("messages/core/breach.py", "ray"),
    ("messages/core/breach.py", "asyncio"),
    ("actors/state/core.py", "ray"),
    ("actors/state/core.py", "time"),
    ("runtime/stores/postgres/core.py", "random"),
    ("supervisors/tree.py", "asyncio"),
    ("actors/kernel/breach.py", "callboard.actors.trees"),
    ("actors/keyed/breach.py", "callboard.actors.trees"),
    ("actors/journal/breach.py", "callboard.actors.events"),
    ("actors/events/breach.py", "callboard.actors.executions"),
    ("runtime/cache/breach.py", "callboard.runtime.stores"),
    ("runtime/stores/breach.py", "callboard.runtime.hosting"),
    ("runtime/detached/breach.py", "callboard.runtime.executions"),
    ("runtime/executions/breach.py", "ray"),
)
"""Files, and what none of them may import."""
NEW_ROLE: Final = "actors/breach/__init__.py"
"""A role that has no floor."""


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of `folder`'s pyproject.toml over the package in its `src`."""
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(folder / "src"), "PATH": "", "NO_COLOR": "1", "COLUMNS": "200"},
    )


@pytest.fixture(scope="module")
def noticed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report about a copy of the repository that has all the breaches."""
    copy = tmp_path_factory.mktemp("breaches")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in FOLDERS:
        shutil.copytree(root / name, copy / name, symlinks=True, ignore=ignore)
    shutil.copy(root / "pyproject.toml", copy)
    for name, imported in BREACHES:
        with (copy / name).open("a", encoding="utf-8") as file:
            file.write(f"\nimport {imported}\n")
    (copy / NEW_ROLE).parent.mkdir()
    (copy / NEW_ROLE).touch()
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_every_contract_is_kept(root: Path) -> None:
    done = lint(root)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("file", "imported"), BREACHES)
def test_a_breach_is_noticed(noticed: str, file: str, imported: str) -> None:
    importer = f"callboard.{file.removesuffix('.py').replace('/', '.')}"
    assert f"{importer} -> {imported} " in noticed, noticed


def test_a_role_without_a_floor_is_noticed(noticed: str) -> None:
    (_, after) = noticed.split("not listed as layers:")
    assert "callboard.actors.breach" in after.split("---")[0], noticed


def test_every_kind_of_contract_is_among_the_breaches(noticed: str) -> None:
    assert "Contracts: 0 kept, 7 broken." in noticed
