"""What every test can use: the repository's root and its files, as a fresh clone has them."""

import fcntl
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
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


def pytest_collection_finish() -> None:
    """Keep what the collection has made out of each later search for garbage.

    Ten thousand tests and their modules stay until the end. A search through all of them takes half
    a second, and the simulator alone makes hundreds.
    """
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session")
def strict_mypy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Checks programs of one folder as a user begins: strictly, and without our configuration.

    Gives what mypy prints. All processes of a run share its cache, one after the other: an empty
    one takes six seconds.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "mypy"
    folder.mkdir(exist_ok=True)
    (folder / "mypy.ini").write_text("[mypy]\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-color-output", "--no-pretty"]
    command += ["--no-error-summary", "--config-file", str(folder / "mypy.ini")]
    command += ["--cache-dir", str(folder / "cache")]

    def check(*programs: Path) -> str:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = subprocess.run(
                [*command, *(program.name for program in programs)],
                check=False,
                capture_output=True,
                text=True,
                cwd=programs[0].parent,
            )
        assert done.returncode in {0, 1}, done.stderr
        return done.stdout

    return check


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
