"""Public definitions without a docstring.

A definition is public unless an underscore or an enclosing function hides it. Overloads and setters
need none: the docstring of the main definition describes them.
"""

import ast
from collections.abc import Iterator
from typing import Final

from ..finding import Severity
from .hygiene_nodes import Remark, remark_at

__all__ = ["undocumented"]

LONG_LINES: Final = 30
"""Without a docstring, a longer public function has a higher severity."""

_DOCUMENTED_ELSEWHERE: Final = frozenset({"overload", "setter", "deleter"})

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def undocumented(tree: ast.Module) -> Iterator[Remark]:
    """A remark for each public class, function and method without a docstring."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        statement = pending.pop()
        if isinstance(statement, ast.If | ast.Try):
            pending += [*statement.body, *statement.orelse]
        if not isinstance(statement, _Definition) or statement.name.startswith("_"):
            continue
        if isinstance(statement, ast.ClassDef):
            pending += statement.body
        if ast.get_docstring(statement, clean=False) is None and not _is_documented_elsewhere(
            statement
        ):
            yield _remark(statement)


def _is_documented_elsewhere(node: _Definition) -> bool:
    for decorator in node.decorator_list:
        name = decorator.attr if isinstance(decorator, ast.Attribute) else None
        if isinstance(decorator, ast.Name):
            name = decorator.id
        if name in _DOCUMENTED_ELSEWHERE:
            return True
    return False


def _remark(node: _Definition) -> Remark:
    kind = "class" if isinstance(node, ast.ClassDef) else "function"
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    is_long = kind == "function" and length > LONG_LINES
    severity = Severity.LOW if is_long else Severity.INFO
    message = f"the public {kind} `{node.name}` ({length} lines) has no docstring"
    return remark_at(node, "missing-docstring", message, severity, 0.8)
