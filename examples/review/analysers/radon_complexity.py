"""Complexity and maintainability, by radon, on the parsed tree."""

import ast
from collections.abc import Iterator
from typing import Final

from radon.complexity import cc_rank
from radon.metrics import h_visit_ast, mi_compute
from radon.visitors import ComplexityVisitor, Function

from ..finding import Finding, Severity
from ..source import SourceFile
from .protocol import PerFileAnalyser, raw_finding

__all__ = ["RadonComplexity"]

SEVERITY_BY_RANK: Final = {
    "C": Severity.LOW,
    "D": Severity.MEDIUM,
    "E": Severity.HIGH,
    "F": Severity.HIGH,
}
"""Ranks A and B (complexity up to 10) are fine."""

MAINTAINABILITY_LOW: Final = 10.0
MAINTAINABILITY_INFO: Final = 20.0


class RadonComplexity(PerFileAnalyser):
    """Functions with many paths, and files that are hard to maintain."""

    name = "radon"

    def check(self, file: SourceFile) -> Iterator[Finding]:
        """Complexity of each function and method, and the maintainability index."""
        metrics = ComplexityVisitor.from_ast(file.tree)
        for block in _functions(metrics):
            severity = SEVERITY_BY_RANK.get(cc_rank(block.complexity))
            if severity is None:
                continue
            yield raw_finding(
                self.name,
                "complexity",
                file.path,
                block.lineno,
                f"`{block.name}` has cyclomatic complexity {block.complexity}, "
                f"rank {cc_rank(block.complexity)}",
                severity=severity,
                confidence=0.9,
                column=block.col_offset + 1,
            )
        yield from self._maintainability(file, metrics.total_complexity)

    def _maintainability(self, file: SourceFile, complexity: int) -> Iterator[Finding]:
        # radon's mi_visit tokenises every line again. These counts are cheap.
        statements = sum(isinstance(node, ast.stmt) for node in file.nodes)
        written = [line.lstrip() for line in file.lines if line.strip()]
        comments = sum(line.startswith("#") for line in written)
        share = 100 * comments / len(written) if written else 0.0
        volume = h_visit_ast(file.tree).total.volume
        index = mi_compute(volume, complexity, statements, share)
        if index < MAINTAINABILITY_INFO:
            yield raw_finding(
                self.name,
                "maintainability",
                file.path,
                1,
                f"maintainability index {index:.0f} of 100 ({statements} statements)",
                severity=Severity.LOW if index < MAINTAINABILITY_LOW else Severity.INFO,
                confidence=0.7,
            )


def _functions(metrics: ComplexityVisitor) -> Iterator[Function]:
    pending = list(metrics.functions)
    classes = list(metrics.classes)
    while classes:
        block = classes.pop()
        pending += block.methods
        classes += block.inner_classes
    while pending:
        block = pending.pop()
        yield block
        pending += block.closures
