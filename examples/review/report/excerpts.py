"""The source lines around each finding, and a link to its file, for the page.

The lines are plain text with a limit on their number and their length, the worst findings first.
The page only sets them as text, so nothing in a source tree can become markup.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..finding import Finding
from ..source import load_source

__all__ = ["AROUND", "LINES_MAX", "LINE_CHARS_MAX", "sources_of"]

AROUND: Final = 2
"""Lines before and after the line of a finding; page.js has the same number."""
LINES_MAX: Final = 60_000
"""Lines in one page: 3 MB of usual source text."""
LINE_CHARS_MAX: Final = 160


def sources_of(findings: Iterable[Finding], root: Path) -> dict[str, list[Any]]:
    """For each path: the link to its file, and its lines by number.

    A file that cannot be read has no lines. Findings beyond `LINES_MAX` have none either.
    """
    found: dict[str, list[Any]] = {}
    for path, wanted in _wanted(findings).items():
        source = load_source(root, path)
        link = "" if source.location is None else source.location.absolute().as_uri()
        lines = {} if source.problem is not None else _lines(source.lines, wanted)
        found[path] = [link, lines]
    return found


def _wanted(findings: Iterable[Finding]) -> Mapping[str, set[int]]:
    wanted: dict[str, set[int]] = {}
    left = LINES_MAX
    for finding in sorted(findings, key=lambda one: (-one.severity.rank, one.sort_key)):
        known = wanted.setdefault(finding.path, set())
        around = range(max(1, finding.line - AROUND), finding.line + AROUND + 1)
        new = [number for number in around if number not in known]
        if len(new) <= left:
            known.update(new)
            left -= len(new)
    return wanted


def _lines(lines: Sequence[str], wanted: Iterable[int]) -> dict[int, str]:
    last = len(lines) if lines[-1] else len(lines) - 1  # After the last line break is no line.
    return {number: _shown(lines[number - 1]) for number in sorted(wanted) if number <= last}


def _shown(line: str) -> str:
    shown = line.expandtabs(4).rstrip()
    shown = "".join(character if character.isprintable() else "\ufffd" for character in shown)
    return shown if len(shown) <= LINE_CHARS_MAX else f"{shown[: LINE_CHARS_MAX - 1]}…"
