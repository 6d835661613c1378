"""Runs the review's command line as a user does, on a tree that holds good and bad files."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from examples.review.report import canonical

ROOT: Final = Path(__file__).resolve().parents[2]
LIBRARY: Final = Path(sysconfig.get_path("stdlib"))
BAD_FILES: Final = {
    "bad/broken.py": b"def f(:\n",
    "bad/latin.py": "name = 'Müller'\n".encode("latin-1"),
    "bad/cookie.py": b"# -*- coding: no-such-codec -*-\nx = 1\n",
    "bad/nul.py": b"x = 1\n\0\n",
    "bad/deep.py": b"x = " + b"[" * 190 + b"]" * 190 + b"\n",
    "bad/large.py": b"x = 1  # " + b"#" * 2_000_000 + b"\n",
    "bad/empty.py": b"",
    "bad/excused.py": b"import os  # noqa: F401\nimport pickle  # nosec\n",
}


def make_tree(folder: Path, packages: tuple[str, ...]) -> Path:
    """A tree of some packages of the standard library, and of files that go wrong."""
    for package in packages:
        shutil.copytree(
            LIBRARY / package,
            folder / package,
            ignore=shutil.ignore_patterns("__pycache__", "test", "tests", "*.so"),
        )
    for name, data in BAD_FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "bad/dangling.py").symlink_to("gone.py")
    (folder / "bad/folder.py").mkdir()
    os.mkfifo(folder / "bad/pipe.py")
    Path(os.fsdecode(os.fsencode(folder / "bad") + b"/name\xff.py")).write_bytes(b"import os\n")
    return folder


def command(*arguments: str | Path) -> list[str]:
    """The command line, under this Python."""
    return [sys.executable, "-m", "examples.review", *map(str, arguments)]


def review(*arguments: str | Path, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def report_in(folder: Path) -> bytes:
    """What must be the same for every way to run the same review."""
    return canonical((folder / "report.json").read_bytes())
