"""What every test can use: the repository's root and its files, as a fresh clone has them."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

import tests.thoroughness  # noqa: F401 - it registers the profiles

pytest_plugins = ["tests.servers.fixtures"]

ROOT: Final = Path(__file__).resolve().parents[1]
STAYING: Final = frozenset({"system", "ray_here"})
"""The fixtures whose Ray stays in this process until the end."""
NOT_OURS: Final = frozenset({".git", ".venv", "__pycache__", "build", "dist", "out"})


# `--hypothesis-profile=soak` comes later and wins.
settings.load_profile("test")
# A shell's background job begins without it, and so would all processes that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _turn(item: pytest.Item) -> int:
    if item.path.name == "test_embedded.py":
        return 0  # It looks at all descendants of this process: later ones have clusters of others.
    return 2 if STAYING & set(getattr(item, "fixturenames", ())) else 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of a shared Ray come last: others start an embedded one of their own."""
    items.sort(key=_turn)


@pytest.fixture(scope="session", autouse=True)
def _callboard_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What outlives a process goes to a folder of this run, in child processes too."""
    os.environ["CALLBOARD_HOME"] = str(tmp_path_factory.mktemp("callboard-home"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder that holds `pyproject.toml`."""
    return ROOT


@pytest.fixture(scope="session")
def repository_files() -> list[Path]:
    """The files of the repository, relative to its root, without what is ignored.

    Git is asked when there is one: files that are tracked, and new ones that would be. A copy
    without Git (an archive) is walked. Links are listed as links and not followed.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return sorted(_walked())
    paths = {Path(name) for name in listed.stdout.split("\0") if name}
    return sorted(path for path in paths if (ROOT / path).is_file() or (ROOT / path).is_symlink())


def _walked() -> list[Path]:
    found: list[Path] = []
    for folder, names, files in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        links = [name for name in names if (ROOT / here / name).is_symlink()]
        names[:] = [
            name
            for name in names
            if name not in NOT_OURS
            and name not in links
            and not name.endswith((".egg-info", "_cache"))
        ]
        found += [here / name for name in (*files, *links)]
    return found
