"""Checks on single nodes."""

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..finding import Severity

__all__ = ["BUILTIN_NAMES", "NODE_KINDS", "Remark", "node_checks", "remark_at"]

BUILTIN_NAMES: Final = frozenset(name for name in dir(builtins) if not name.startswith("_"))
NODE_KINDS: Final = (
    ast.ExceptHandler, ast.Compare, ast.Assert, ast.Name, ast.Dict, ast.Try, ast.TryStar,
)  # fmt: skip
"""The nodes that `node_checks` checks."""

_BROAD: Final = frozenset({"Exception", "BaseException"})


@dataclass(frozen=True, slots=True)
class Remark:
    """The result of a check. The analyser makes a finding of it."""

    topic: str
    line: int
    offset_bytes: int
    message: str
    severity: Severity
    confidence: float
    subject: str = ""


def remark_at(
    node: ast.stmt | ast.expr | ast.arg | ast.ExceptHandler,
    topic: str,
    message: str,
    severity: Severity,
    confidence: float,
    subject: str = "",
) -> Remark:
    """A remark at the place of `node`."""
    return Remark(topic, node.lineno, node.col_offset, message, severity, confidence, subject)


def node_checks(node: ast.AST) -> Iterator[Remark]:
    """Remarks on one node."""
    match node:
        case ast.ExceptHandler():
            yield from _handler(node)
        case ast.Compare():
            yield from _comparison(node)
        case ast.Assert(test=ast.Tuple(elts=[_, *_])):
            message = "an assertion on a tuple that is not empty always holds"
            yield remark_at(node, "assert-on-tuple", message, Severity.HIGH, 0.95)
        case ast.Name(ctx=ast.Store(), id=name) if name in BUILTIN_NAMES:
            message = f"`{name}` hides the builtin of that name"
            yield remark_at(node, "shadowed-builtin", message, Severity.LOW, 0.8, name)
        case ast.Dict():
            yield from _repeated_keys(node)
        case ast.Try() | ast.TryStar():
            yield from _jumps_in_finally(node)
        case _:
            pass


def _handler(node: ast.ExceptHandler) -> Iterator[Remark]:
    if node.type is None:
        message = "a bare `except` also catches KeyboardInterrupt and SystemExit"
        yield remark_at(node, "bare-except", message, Severity.MEDIUM, 0.95)
    elif isinstance(node.type, ast.Name) and node.type.id == "BaseException":
        reraises = any(isinstance(statement, ast.Raise) for statement in node.body)
        if not reraises:
            message = "`except BaseException` that does not raise again swallows Ctrl-C"
            yield remark_at(node.type, "broad-except", message, Severity.HIGH, 0.6)
    catches_all = node.type is None or (isinstance(node.type, ast.Name) and node.type.id in _BROAD)
    if all(isinstance(statement, ast.Pass) for statement in node.body):
        severity = Severity.HIGH if catches_all else Severity.INFO
        confidence = 0.9 if catches_all else 0.5
        message = "the exception is dropped without a word"
        yield remark_at(node, "silent-except", message, severity, confidence)


def _comparison(node: ast.Compare) -> Iterator[Remark]:
    operands = [node.left, *node.comparators]
    for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
        sides = (left, right)
        if isinstance(operator, ast.Eq | ast.NotEq):
            if any(isinstance(side, ast.Constant) and side.value is None for side in sides):
                message = "compares with None by equality, which a class can redefine: use `is`"
                # Ruff reports the constant; otherwise the two agree only on the line.
                none = next(
                    side for side in sides if isinstance(side, ast.Constant) and side.value is None
                )
                yield remark_at(none, "none-comparison", message, Severity.LOW, 0.95)
        elif isinstance(operator, ast.Is | ast.IsNot) and any(_is_literal(side) for side in sides):
            message = "asks for the identity of a literal, which depends on the interpreter"
            yield remark_at(node, "identity-of-literal", message, Severity.HIGH, 0.95)


def _is_literal(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, int | float | str | bytes)
        and (not isinstance(node.value, bool))
    )


def _repeated_keys(node: ast.Dict) -> Iterator[Remark]:
    seen: set[tuple[type, object]] = set()
    for key in node.keys:
        if isinstance(key, ast.Constant):
            identity = (type(key.value), key.value)
            if identity in seen:
                message = "a key of this literal stands in it twice: the later one wins"
                yield remark_at(key, "repeated-key", message, Severity.HIGH, 0.9)
            seen.add(identity)


def _jumps_in_finally(node: ast.Try | ast.TryStar) -> Iterator[Remark]:
    pending: list[tuple[ast.stmt, bool]] = [(statement, False) for statement in node.finalbody]
    while pending:
        statement, in_loop = pending.pop()
        leaves_loop = isinstance(statement, ast.Break | ast.Continue) and not in_loop
        if isinstance(statement, ast.Return) or leaves_loop:
            message = "leaving a `finally` block drops the exception under way"
            yield remark_at(statement, "jump-in-finally", message, Severity.HIGH, 0.9)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        looping = in_loop or isinstance(statement, ast.For | ast.AsyncFor | ast.While)
        children = ast.iter_child_nodes(statement)
        pending += [(child, looping) for child in children if isinstance(child, ast.stmt)]
        pending += [
            (inner, looping)
            for child in ast.iter_child_nodes(statement)
            if isinstance(child, ast.ExceptHandler | ast.match_case)
            for inner in child.body
        ]
