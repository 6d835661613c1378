"""Trials: the tests of a module, in a copy of the tree that has one change in it.

The copy is in a temporary folder. Whatever ends a run, the work tree is as it was.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from .mutants import Mutant
from .targets import Target, target_of, tests_of

__all__ = ["Copy", "Trial", "TrialFailed"]

COPIED: Final = (
    "actors", "bench", "docs", "examples", "messages", "runtime", "src", "supervisors", "tests",
    "Makefile", "README.md", "cluster.yaml", "mkdocs.yml", "pyproject.toml",
)  # fmt: skip
IGNORED: Final = shutil.ignore_patterns("__pycache__", "*.egg-info", "out", ".*")
LISTED: Final = "equivalent.toml"
"""Not a part of the fingerprint: a session goes on when one more mutant is listed there."""

MARGIN_S: Final = 20.0
TIMES: Final = 4.0
"""A trial may take this many times as long as the tests take without a change, and the margin."""
BASELINE_S: Final = 600.0
MEMORY_KB: Final = 6 * 1024 * 1024
"""The address space of a trial's process, which has some 1.5 GB of it without a change."""
FOUND_CODES: Final = frozenset({1, 2, 3, 4})
"""Of pytest: a test failed, or did not even begin, or a plugin or `conftest.py` does not load."""
FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S.*)$", re.MULTILINE)
TAIL: Final = 2_000


class TrialFailed(Exception):
    """The tests did not run."""


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of the tests."""

    is_found: bool
    how: str
    """What found the mutant; why the tests failed."""
    took_s: float


@final
class Copy:
    """A copy of the tree, in which one worker makes one change after another."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for name in COPIED:
            source = root / name
            if source.is_dir():
                shutil.copytree(source, folder / name, symlinks=True, ignore=IGNORED)
            elif source.is_file():
                shutil.copy2(source, folder / name)
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def fingerprint(self) -> str:
        """A digest of the code and its tests: results count for these only."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path.suffix in {".py", ".toml"} and path.name != LISTED:
                digest.update(f"{path.relative_to(self.folder)}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:12]

    def baseline(self, file: str) -> Trial:
        """The tests and seeds of a module without a change: nothing may be found."""
        return self._tests(file, BASELINE_S, keeps_bytecode=True)

    def attempt(self, mutant: Mutant, baseline_s: float) -> Trial:
        """Change the copy, pass the tests until one fails, and change it back."""
        path = self.folder / mutant.file
        text, times = path.read_text(encoding="utf-8"), path.stat()
        path.write_text(mutant.code(text), encoding="utf-8")
        # Python takes a compiled file by the time and the size of its source: another time, so
        # that it takes none of the file as it was, and nothing is compiled for the next mutant.
        os.utime(path, (times.st_atime, times.st_mtime + 10))
        try:
            return self._tests(mutant.file, MARGIN_S + TIMES * baseline_s)
        finally:
            path.write_text(text, encoding="utf-8")
            os.utime(path, (times.st_atime, times.st_mtime))

    def end(self) -> None:
        """End the trial that runs, and begin no other: from another thread."""
        self._ended = True
        if self._process is not None:
            _kill(self._process)

    def _tests(self, file: str, limit_s: float, *, keeps_bytecode: bool = False) -> Trial:
        """The tests of a module, then its seeds; the first failure ends it."""
        target = target_of(file)
        began_s = time.monotonic()
        for command in (self._pytest(file, target), self._seeds(target)):
            left_s = limit_s - (time.monotonic() - began_s)
            code, output = self._run(command, left_s, keeps_bytecode=keeps_bytecode)
            took_s = time.monotonic() - began_s
            if code is None:
                return Trial(is_found=True, how=f"not done after {limit_s:.0f} s", took_s=took_s)
            if code in FOUND_CODES or code < 0 or code > 128:
                return Trial(is_found=True, how=_failure(output, code), took_s=took_s)
            if code != 0:
                raise TrialFailed(f"exit code {code} of {' '.join(command)}:\n{output[-TAIL:]}")
        return Trial(is_found=False, how="", took_s=time.monotonic() - began_s)

    def _pytest(self, file: str, target: Target) -> list[str]:
        options = [
            *("-x", "-q", "--tb=line", "-p", "no:cacheprovider", "--timeout=45"),
            *("-m", "not ray and not soak", "--hypothesis-profile=mutants"),
            *(("-k", target.select) if target.select else ()),
        ]
        return ["-m", "pytest", *options, *tests_of(self.folder, file)]

    def _seeds(self, target: Target) -> list[str]:
        return ["-m", "tests.mutants.seeds", *(f"{name}={n}" for name, n in target.seeds.items())]

    def _run(
        self, command: Sequence[str], limit_s: float, *, keeps_bytecode: bool
    ) -> tuple[int | None, str]:
        """The exit code (none: the time is over) and the output of a Python of the copy."""
        if self._ended:
            raise TrialFailed("the run has ended")
        environment = {
            **os.environ,
            "PYTHONPATH": f"{self.folder / 'src'}{os.pathsep}{self.folder}",
            "PYTHONDONTWRITEBYTECODE": "" if keeps_bytecode else "1",
        }
        # A mutant that takes all memory, or that outlives the kill of the run, ends by itself.
        bounds = f'ulimit -v {MEMORY_KB}; ulimit -t {int(BASELINE_S)}; exec "$@"'
        output = self.folder.with_suffix(".txt")
        with output.open("wb") as file:
            process = self._process = subprocess.Popen(
                ["/bin/sh", "-c", bounds, "sh", sys.executable, *command],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,  # A pipe would be open as long as a server that a test has left.
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        code: int | None = None
        try:
            code = process.wait(timeout=max(limit_s, 1.0))
        except subprocess.TimeoutExpired:
            pass
        finally:
            # What the tests have started ends with them, also when all went well.
            _kill(process)
            process.wait()
            self._process = None
        if self._ended:
            raise TrialFailed("the run has ended")
        return code, output.read_text(encoding="utf-8", errors="replace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _failure(output: str, code: int) -> str:
    """The first test that failed, or the last line that says something."""
    named = FAILED.search(output)
    if named is not None:
        return named[1].partition(" - ")[0]
    lines = [line for line in _lines(output) if line.strip()]
    return (lines[-1].strip() if lines else f"exit code {code}")[:200]


def _lines(output: str) -> Iterator[str]:
    yield from output[-TAIL:].splitlines()
