"""Checks on functions, and on unreachable statements."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from ..finding import Severity
from .hygiene_nodes import BUILTIN_NAMES, Remark, remark_at

__all__ = ["function_checks", "unreachable_statements"]

BRANCHES_MAX: Final = 12
BRANCHES_MEDIUM: Final = 25
COMPLEXITY_MAX: Final = 15
ARGUMENTS_MAX: Final = 8

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_ENDS: Final = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_MUTABLE_CALLS: Final = frozenset({"list", "dict", "set", "bytearray", "defaultdict", "deque"})
_MUTABLE: Final = (
    ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp,
)  # fmt: skip


def function_checks(node: _Function) -> Iterator[Remark]:
    """Checks on the arguments and the size of one function."""
    yield from _arguments(node.args)
    if not isinstance(node, ast.Lambda):
        yield from _size(node)


def _arguments(arguments: ast.arguments) -> Iterator[Remark]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    for argument in every:
        if argument.arg in BUILTIN_NAMES:
            message = f"the argument `{argument.arg}` hides the builtin of that name"
            yield remark_at(argument, "shadowed-builtin", message, Severity.INFO, 0.8, argument.arg)
    for default in (*arguments.defaults, *arguments.kw_defaults):
        is_call = (
            isinstance(default, ast.Call)
            and isinstance(default.func, ast.Name)
            and default.func.id in _MUTABLE_CALLS
        )
        if default is not None and (isinstance(default, _MUTABLE) or is_call):
            message = "a mutable default is shared by all calls"
            yield remark_at(default, "mutable-default", message, Severity.HIGH, 0.9)


def _size(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Remark]:
    branches, complexity = _branches(node)
    if branches > BRANCHES_MAX:
        severity = Severity.MEDIUM if branches > BRANCHES_MEDIUM else Severity.LOW
        message = f"`{node.name}` has {branches} branches (up to {BRANCHES_MAX} read well)"
        yield remark_at(node, "too-many-branches", message, severity, 0.9)
    if complexity > COMPLEXITY_MAX:
        severity = Severity.HIGH if complexity > 2 * COMPLEXITY_MAX else Severity.MEDIUM
        message = f"`{node.name}` takes {complexity} paths, conditions counted singly"
        yield remark_at(node, "complexity", message, severity, 0.7)


def _branches(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int]:
    """The number of branches (blocks), and the complexity (decisions plus one)."""
    branches, complexity = 0, 1
    pending: list[ast.AST] = list(node.body)
    while pending:
        inner = pending.pop()
        if isinstance(inner, _SCOPES):
            continue
        match inner:
            case ast.If(orelse=orelse):
                is_chain = len(orelse) == 1 and isinstance(orelse[0], ast.If)
                branches += 1 + (bool(orelse) and not is_chain)
                complexity += 1
            case ast.For() | ast.AsyncFor() | ast.While():
                branches += 1 + bool(inner.orelse)
                complexity += 1
            case ast.Try() | ast.TryStar():
                branches += len(inner.handlers) + bool(inner.orelse) + bool(inner.finalbody)
                complexity += len(inner.handlers)
            case ast.Match(cases=cases):
                branches += len(cases)
                complexity += len(cases)
            case ast.BoolOp(values=values):
                complexity += len(values) - 1
            case ast.IfExp() | ast.comprehension():
                complexity += 1
            case _:
                pass
        pending += ast.iter_child_nodes(inner)
    return branches, complexity


def unreachable_statements(node: ast.AST) -> Iterator[Remark]:
    """The first unreachable statement of each block."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if not isinstance(block, list):
            continue
        for statement, after in pairwise(block):
            if isinstance(statement, _ENDS):
                word = type(statement).__name__.lower()
                message = f"nothing after this block's `{word}` can run"
                yield remark_at(after, "unreachable", message, Severity.MEDIUM, 0.95)
                break
