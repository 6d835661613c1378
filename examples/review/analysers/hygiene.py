"""Checks on the syntax tree: habits that hide bugs, and code that is hard to read.

It is the independent auditor among the agents: no comment silences it. So the resolver can weigh
its findings against the comments of the author.
"""

import ast
from collections.abc import Iterator
from typing import Final

from ..finding import Finding
from ..source import SourceFile
from .hygiene_docstrings import undocumented
from .hygiene_functions import function_checks, unreachable_statements
from .hygiene_nodes import NODE_KINDS, Remark, node_checks
from .protocol import PerFileAnalyser, raw_finding

__all__ = ["Hygiene"]

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Hygiene(PerFileAnalyser):
    """Mutable defaults, swallowed exceptions, unreachable code and the like."""

    name = "hygiene"

    def check(self, file: SourceFile) -> Iterator[Finding]:
        """All checks on one file."""
        for remark in self._remarks(file):
            yield raw_finding(
                self.name,
                remark.topic,
                file.path,
                remark.line,
                remark.message,
                severity=remark.severity,
                confidence=remark.confidence,
                column=file.column(remark.line, remark.offset_bytes),
                subject=remark.subject,
            )

    def _remarks(self, file: SourceFile) -> Iterator[Remark]:
        yield from undocumented(file.tree)
        for node in file.nodes:
            # Tested here, because a generator for each of a million nodes is expensive.
            if isinstance(node, NODE_KINDS):
                yield from node_checks(node)
            if isinstance(node, _FUNCTIONS):
                yield from function_checks(node)
            if "body" in node._fields:
                yield from unreachable_statements(node)
