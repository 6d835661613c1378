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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

from .mutants import Mutant
from .reaching import FILES, WRITTEN, Reach
from .targets import Target, checks_of, files_of, target_of

__all__ = ["Copy", "Trial", "TrialFailed"]

COPIED: Final = (
    "actors", "bench", "docs", "examples", "messages", "runtime", "src", "supervisors", "tests",
    "Makefile", "README.md", "cluster.yaml", "mkdocs.yml", "pyproject.toml",
)  # fmt: skip
IGNORED: Final = shutil.ignore_patterns("__pycache__", "*.egg-info", "out", ".*")
LISTED: Final = "equivalent.toml"
"""Not a part of the fingerprint: a session goes on when one more mutant is listed there."""

MARGIN_S: Final = 10.0
TIMES: Final = 3.0
"""A trial may work this many times as long as its tests take without a change, and the margin."""
WAITS: Final = 10.0
"""A busy machine takes so many seconds for one of work."""
BASELINE_S: Final = 600.0
MEMORY_KB: Final = 6 * 1024 * 1024
"""The address space of a trial's process, which has some 1.5 GB of it without a change."""
FOUND_CODES: Final = frozenset({1, 2, 3, 4})
"""Of pytest: a test failed, or did not even begin, or a plugin or `conftest.py` does not load."""
FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S.*)$", re.MULTILINE)
TAIL: Final = 2_000
PYTEST: Final = ("-m", "pytest", "-x", "-q", "--tb=line", "-p", "no:cacheprovider")
SEEDS: Final = ("-m", "tests.mutants.seeds")
BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"
CHANGED: Final = {BYTECODE: "1"}
"""While a file is changed, nothing is compiled for later; without a change it is."""


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

    def baseline(self, target: Target) -> Trial:
        """The tests and seeds of a target without a change: nothing may be found.

        The trial says how: what the tests reach, as `Reach` reads it.
        """
        written = self.folder.with_suffix(".json")
        files = [name for name in files_of(self.folder) if target_of(name) is target]
        watch = {
            BYTECODE: "",
            "COVERAGE_CORE": "ctrace",  # the one that tells tests apart on every Python
            FILES: os.pathsep.join(files),
            WRITTEN: str(written),
        }
        options = [
            *("-p", "tests.mutants.reaching", "-m", "not ray and not soak"),
            *(("-k", target.select) if target.select else ()),
        ]
        tests = _pytest([*options, *checks_of(self.folder, target)])
        trial = self._pass(target, [(tests, BASELINE_S)], BASELINE_S, watch)
        if trial.is_found:
            return trial
        return replace(trial, how=written.read_text(encoding="utf-8"))

    def attempt(self, mutant: Mutant, baseline_s: float, reach: Reach) -> Trial:
        """Change the copy, pass the tests until one fails, and change it back."""
        target = target_of(mutant.file)
        names = reach.of(mutant.file, range(mutant.statement, mutant.line + 1))
        limit_s = MARGIN_S + TIMES * reach.seconds(names)
        seeds_s = max(baseline_s - reach.seconds(reach.tests), 0.0)
        longest_s = MARGIN_S + TIMES * max(map(reach.tests.__getitem__, names), default=0.0)
        tests = [(_pytest([f"--timeout={longest_s:.0f}", *names]), limit_s)] if names else []
        path = self.folder / mutant.file
        text, times = path.read_text(encoding="utf-8"), path.stat()
        path.write_text(mutant.code(text), encoding="utf-8")
        # Python takes a compiled file by the time and the size of its source: another time, so
        # that it takes none of the file as it was, and nothing is compiled for the next mutant.
        os.utime(path, (times.st_atime, times.st_mtime + 10))
        try:
            return self._pass(target, tests, MARGIN_S + TIMES * seeds_s, CHANGED)
        finally:
            path.write_text(text, encoding="utf-8")
            os.utime(path, (times.st_atime, times.st_mtime))

    def end(self) -> None:
        """End the trial that runs, and begin no other: from another thread."""
        self._ended = True
        if self._process is not None:
            _kill(self._process)

    def _pass(
        self,
        target: Target,
        tests: list[tuple[list[str], float]],
        seeds_s: float,
        environment: Mapping[str, str],
    ) -> Trial:
        """The tests, then the seeds; the first failure ends it."""
        seeds = [*SEEDS, *(f"{name}={count}" for name, count in target.seeds.items())]
        began_s = time.monotonic()
        for command, limit_s in (*tests, (seeds, seeds_s)):
            code, output = self._run(command, limit_s, environment)
            took_s = time.monotonic() - began_s
            if code is None or code < 0:
                how = "no end" if code is None else signal.Signals(-code).name
                return Trial(is_found=True, how=f"{how} after {took_s:.0f} s", took_s=took_s)
            if code in FOUND_CODES:
                return Trial(is_found=True, how=_failure(output, code), took_s=took_s)
            if code != 0:
                raise TrialFailed(f"exit code {code} of {' '.join(command)}:\n{output[-TAIL:]}")
        return Trial(is_found=False, how="", took_s=time.monotonic() - began_s)

    def _run(
        self, command: Sequence[str], limit_s: float, environment: Mapping[str, str]
    ) -> tuple[int | None, str]:
        """The exit code (none: the time is over) and the output of a Python of the copy."""
        if self._ended:
            raise TrialFailed("the run has ended")
        path = f"{self.folder / 'src'}{os.pathsep}{self.folder}"
        # A mutant that takes all memory, or that outlives the kill of the run, ends by itself.
        bounds = f'ulimit -v {MEMORY_KB}; ulimit -t {int(limit_s)}; exec "$@"'
        output = self.folder.with_suffix(".txt")
        with output.open("wb") as file:
            process = self._process = subprocess.Popen(
                ["/bin/sh", "-c", bounds, "sh", sys.executable, *command],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": path, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,  # A pipe would be open as long as a server that a test has left.
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        code: int | None = None
        try:
            code = process.wait(timeout=WAITS * limit_s)
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


def _pytest(arguments: list[str]) -> list[str]:
    return [*PYTEST, "--hypothesis-profile=mutants", *arguments]


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
