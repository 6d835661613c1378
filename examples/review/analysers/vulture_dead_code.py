"""Dead code, by vulture, one file at a time.

Vulture expects a whole program. In a single file it cannot see all uses of a public name. So of its
less certain findings this keeps only private names and variables inside functions.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final, Self, cast

from vulture import Vulture

from ..exoneration import noqa_for
from ..finding import Finding, Severity
from ..source import SourceFile
from .protocol import PerFileAnalyser, raw_finding

__all__ = ["VultureDeadCode"]

CERTAIN_PERCENT: Final = 80

SEVERITY_BY_CODE: Final = {
    "unused-import": Severity.MEDIUM,
    "unused-variable": Severity.LOW,
    "unused-argument": Severity.INFO,
    "unreachable": Severity.MEDIUM,
    "unused-private": Severity.INFO,
}

_NOQA_CODES: Final = {
    "unused-import": ("F401", "V104"),
    "unused-variable": ("F841", "V107"),
    "unused-argument": ("ARG001", "V107"),
    "unreachable": ("V201",),
    "unused-private": ("V103", "V105"),
}


class _TreePath(PurePosixPath):
    """A path that resolves to itself, so that vulture does not query the file system."""

    def resolve(self) -> Self:
        return self


class VultureDeadCode(PerFileAnalyser):
    """Unused imports, variables and private functions, and unreachable code."""

    name = "vulture"

    def check(self, file: SourceFile) -> Iterator[Finding]:
        """Vulture's findings in this file alone."""
        scanner = cast("Any", Vulture())
        # As `scan` does, but without parsing again, and with Python's line ends.
        scanner.code = list(file.lines)
        scanner.filename = _TreePath("/", file.path)
        scanner.noqa_lines = defaultdict(set)
        scanner.visit(file.tree)
        inside = _lines_in_functions(file)
        arguments = {(node.lineno, node.arg) for node in file.nodes if isinstance(node, ast.arg)}
        alias_lines = _alias_lines(file)
        for item in scanner.get_unused_code():
            is_argument = (item.first_lineno, item.name) in arguments
            code = _code(item.typ, item.name, is_argument=is_argument)
            certain = item.confidence >= CERTAIN_PERCENT
            line = item.first_lineno
            if code is None or not (certain or code == "unused-private" or line in inside):
                continue
            if code == "unused-import":
                line = alias_lines.get((line, item.name), line)
            yield raw_finding(
                self.name,
                code,
                file.path,
                line,
                item.message,
                severity=SEVERITY_BY_CODE[code],
                confidence=0.6 if code == "unused-argument" else item.confidence / 100,
                subject="" if code == "unreachable" else item.name,
                exoneration=noqa_for(file, line, _NOQA_CODES[code]),
            )


def _code(kind: str, name: str, *, is_argument: bool) -> str | None:
    match kind:
        case "import":
            return "unused-import"
        case "unreachable_code":
            return "unreachable"
        case "variable":
            return "unused-argument" if is_argument else "unused-variable"
        case "function" | "method" | "class" | "property" if re.match("_(?!_)", name):
            return "unused-private"
        case _:
            return None


def _lines_in_functions(file: SourceFile) -> set[int]:
    inside: set[int] = set()
    for node in file.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside.update(range(node.lineno + 1, (node.end_lineno or node.lineno) + 1))
    return inside


def _alias_lines(file: SourceFile) -> dict[tuple[int, str], int]:
    """The line of each imported name. Vulture gives the line of the statement."""
    lines: dict[tuple[int, str], int] = {}
    for node in file.nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                lines[node.lineno, bound] = alias.lineno
    return lines
