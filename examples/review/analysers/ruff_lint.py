"""Lint, by ruff's binary: one process for a whole batch of files.

A run does not depend on its environment: no configuration, no cache, no `RUFF_` variables, one
thread, fixed rules. Files that ruff cannot read by name or as UTF-8 go through standard input. When
a batch fails (a crash, a timeout), its halves are tried, so that one bad file never changes the
findings about another.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from ruff import find_ruff_bin

from ..exoneration import noqa_for
from ..finding import Finding, Severity
from ..source import Problem, SourceFile
from ..topics import topic_of
from .protocol import problem_finding, raw_finding

__all__ = ["RuffLint"]

TIMEOUT_S: Final = 60.0
FILES_PER_PROCESS_MAX: Final = 200
"""Keeps the command line far below the limit of every system."""

SELECTED: Final = (
    "A001,A002,A004,A006,B,BLE,C90,D100,D101,D102,D103,D104,D106,E711,E712,E713,E714,E721,"
    "E722,E731,E9,F,PLE,PLR0911,PLR0912,PLR0913,PLR0915,PLW,S,W291,W293,W605"
)
IGNORED: Final = "F403,F405"
"""Star imports: half of the findings in graphics programs, with little value."""

PYTHON_MINOR_MAX: Final = 14
"""The newest Python version that the oldest supported ruff knows."""

_RATINGS: Final[tuple[tuple[str, Severity, float], ...]] = (
    ("B006", Severity.MEDIUM, 0.9),
    ("B9", Severity.LOW, 0.7),
    ("BLE", Severity.MEDIUM, 0.6),
    ("B", Severity.LOW, 0.8),
    ("C901", Severity.MEDIUM, 0.8),
    ("D", Severity.INFO, 0.9),
    ("E722", Severity.MEDIUM, 0.9),
    ("E7", Severity.LOW, 0.9),
    ("F401", Severity.LOW, 0.9),
    ("F6", Severity.HIGH, 0.9),
    # Ruff cannot see names that a module defines dynamically.
    ("F82", Severity.MEDIUM, 0.6),
    ("F841", Severity.LOW, 0.9),
    ("F", Severity.MEDIUM, 0.8),
    ("PLE", Severity.HIGH, 0.8),
    ("PLR", Severity.LOW, 0.8),
    ("PLW", Severity.LOW, 0.7),
    ("S10", Severity.LOW, 0.6),
    ("S11", Severity.LOW, 0.8),
    ("S3", Severity.MEDIUM, 0.7),
    ("S6", Severity.MEDIUM, 0.6),
    ("S", Severity.MEDIUM, 0.7),
    ("A", Severity.LOW, 0.7),
    ("W", Severity.INFO, 0.9),
)
"""The first matching prefix decides."""

_NAMED_TOPICS: Final = frozenset({"unused-import", "unused-variable", "shadowed-builtin"})
_QUOTED: Final = re.compile(r"`([^`]+)`")


class RuffLint:
    """Bugs, doubtful constructions, complexity, missing docstrings, security."""

    name: Final = "ruff"

    def __init__(self) -> None:
        minor = min(sys.version_info.minor, PYTHON_MINOR_MAX)
        self._command = (
            find_ruff_bin(), "check", "--isolated", "--no-cache", "--exit-zero", "--quiet",
            "--ignore-noqa", "--no-fix", "--output-format", "json",
            "--target-version", f"py3{minor}", "--select", SELECTED, "--ignore", IGNORED,
        )  # fmt: skip
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RUFF_")}
        self._environment = {**kept, "RAYON_NUM_THREADS": "1", "NO_COLOR": "1"}

    def analyse_many(self, files: Sequence[SourceFile]) -> list[tuple[Finding, ...]]:
        """The findings of ruff in each file, in the order of `files`."""
        found: dict[int, tuple[Finding, ...]] = {}
        by_name: list[int] = []
        for index, file in enumerate(files):
            if file.problem is not None:
                found[index] = (problem_finding(self.name, file.path, file.problem),)
            elif _can_be_named(file):
                by_name.append(index)
            else:
                found[index] = self._one_by_input(file)
        for start in range(0, len(by_name), FILES_PER_PROCESS_MAX):
            indices = by_name[start : start + FILES_PER_PROCESS_MAX]
            results = self._batch([files[index] for index in indices])
            found.update(zip(indices, results, strict=True))
        return [found[index] for index in range(len(files))]

    def _batch(self, files: Sequence[SourceFile]) -> list[tuple[Finding, ...]]:
        arguments = ["--", *(str(file.location) for file in files)]
        reported = self._run(arguments, stdin=None)
        if reported is not None:
            groups = _by_file(reported, files)
            if groups is not None:
                pairs = zip(files, groups, strict=True)
                return [self._findings(file, diagnostics) for file, diagnostics in pairs]
        if len(files) == 1:
            return [(_failed(self.name, files[0]),)]
        half = len(files) // 2
        return self._batch(files[:half]) + self._batch(files[half:])

    def _one_by_input(self, file: SourceFile) -> tuple[Finding, ...]:
        # Some rules depend on the name, for instance of a package's __init__.py.
        arguments = [f"--stdin-filename={PurePosixPath(file.path).name}", "-"]
        reported = self._run(arguments, stdin=file.text.encode("utf-8"))
        if reported is None:
            return (_failed(self.name, file),)
        return self._findings(file, reported)

    def _run(self, arguments: Sequence[str], stdin: bytes | None) -> list[dict[str, Any]] | None:
        """Ruff's diagnostics, or None when ruff failed."""
        try:
            done = subprocess.run(
                [*self._command, *arguments],
                input=stdin,
                stdin=None if stdin is not None else subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
                env=self._environment,
                cwd=os.sep,
            )
            reported = json.loads(done.stdout) if done.returncode == 0 else None
        except (OSError, subprocess.TimeoutExpired, ValueError):
            return None
        return reported if isinstance(reported, list) else None

    def _findings(
        self, file: SourceFile, diagnostics: Sequence[Mapping[str, Any]]
    ) -> tuple[Finding, ...]:
        syntax = [item for item in diagnostics if _code(item) == "invalid-syntax"]
        if syntax:
            # After the first error the parser guesses, so the other diagnostics are unreliable.
            first = min(syntax, key=lambda item: (_line(item), str(item["message"])))
            message = f"no valid Python: {first['message']}"
            problem = Problem("unparsable", message, line=_line(first))
            return (problem_finding(self.name, file.path, problem),)
        findings = {self._finding(file, item) for item in diagnostics}
        return tuple(sorted(findings, key=lambda finding: finding.sort_key))

    def _finding(self, file: SourceFile, item: Mapping[str, Any]) -> Finding:
        code, line = _code(item), _line(item)
        message = str(item["message"])
        severity, confidence = _rating(code)
        topic = topic_of(self.name, code)
        noqa_line = int(item.get("noqa_row") or line)
        return raw_finding(
            self.name,
            code,
            file.path,
            line,
            message,
            severity=severity,
            confidence=confidence,
            column=int(item["location"]["column"]),
            name=_rule_name(item),
            subject=_subject(file, item) if topic in _NAMED_TOPICS else "",
            exoneration=noqa_for(file, noqa_line, (code,)),
        )


def _can_be_named(file: SourceFile) -> bool:
    try:
        str(file.location).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return file.location is not None and file.is_utf8


def _by_file(
    reported: Sequence[dict[str, Any]], files: Sequence[SourceFile]
) -> list[list[dict[str, Any]]] | None:
    """The diagnostics of each file, or None when one is about another file."""
    groups: dict[str, list[dict[str, Any]]] = {str(file.location): [] for file in files}
    for item in reported:
        group = groups.get(str(item.get("filename")))
        if group is None:
            return None
        group.append(item)
    return [groups[str(file.location)] for file in files]


def _failed(agent: str, file: SourceFile) -> Finding:
    message = f"{agent} failed on this file: not analysed by it"
    return problem_finding(agent, file.path, Problem("analyser-failed", message, Severity.LOW))


def _code(item: Mapping[str, Any]) -> str:
    return str(item.get("code") or "invalid-syntax")


def _rule_name(item: Mapping[str, Any]) -> str:
    """The rule in words. Older releases have them only in the address of the documentation."""
    return str(item.get("name") or str(item.get("url") or "").rpartition("/")[2])


def _line(item: Mapping[str, Any]) -> int:
    return max(1, int(item["location"]["row"]))


def _rating(code: str) -> tuple[Severity, float]:
    for prefix, severity, confidence in _RATINGS:
        if code.startswith(prefix):
            return severity, confidence
    return Severity.LOW, 0.5


def _subject(file: SourceFile, item: Mapping[str, Any]) -> str:
    """The name that a diagnostic is about, in the form that other agents use."""
    line, start = _line(item), int(item["location"]["column"]) - 1
    text = file.lines[line - 1] if line <= len(file.lines) else ""
    end = int(item["end_location"]["column"]) - 1
    marked = text[start:end] if item["end_location"]["row"] == line else text[start:]
    _, renamed, alias = marked.partition(" as ")
    bound = alias.strip() if renamed else marked
    if bound.isidentifier():
        return bound
    match = _QUOTED.search(str(item["message"]))
    if match is None:
        return ""
    parts = match[1].split(".")
    return parts[0] if text.lstrip().startswith("import ") else parts[-1]
