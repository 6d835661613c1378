"""Expressions over the fields of rows or columns: `amount > 0 and country in ["DE", "FR"]`.

The language is a small part of Python's expressions: names of fields, constants, arithmetic,
comparisons, `and`, `or`, `not`, `in`, `x if y else z`, and a few functions. There are no
attributes, no indices and no other calls, so an expression of a file cannot do anything else.

For rows an expression is computed for each row; for columns once, with numpy.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any, Final, NoReturn, final

import numpy as np
import numpy.typing as npt

from callboard.messages.core.errors import UsageError

from .batch import Columns

__all__ = ["Expression", "FieldMissing"]

CHARACTERS_MAX: Final = 2_000
TEXT_CHARACTERS_MAX: Final = 1_000_000
"""A text that an expression makes is at most so long."""


class FieldMissing(UsageError):
    """A row or a batch does not have a field that an expression names."""


def _times(one: Any, other: Any) -> Any:
    if isinstance(one, str | bytes | list | tuple) or isinstance(other, str | bytes | list | tuple):
        raise TypeError("a text or a list cannot be multiplied")
    return one * other


def _rest(one: Any, other: Any) -> Any:
    if isinstance(one, str | bytes):
        raise TypeError("a text has no remainder")
    return one % other


def _plus(one: Any, other: Any) -> Any:
    if isinstance(one, str) and len(one) > TEXT_CHARACTERS_MAX:
        raise TypeError("a text is too long")
    return one + other


def _matches(value: Any, pattern: Any) -> bool:
    return re.fullmatch(pattern, value) is not None


ROW_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": abs,
    "ends": str.endswith,
    "float": float,
    "int": int,
    "length": len,
    "lower": str.lower,
    "matches": _matches,
    "max": max,
    "min": min,
    "round": round,
    "starts": str.startswith,
    "str": str,
    "strip": str.strip,
    "upper": str.upper,
}

COLUMN_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": np.abs,
    "ends": np.char.endswith,
    "float": lambda column: np.asarray(column).astype(np.float64),
    "int": lambda column: np.asarray(column).astype(np.int64),
    "length": np.char.str_len,
    "lower": np.char.lower,
    "matches": lambda column, pattern: np.array(
        [_matches(value, pattern) for value in column.tolist()], np.bool_
    ),
    "max": np.maximum,
    "min": np.minimum,
    "round": np.round,
    "starts": np.char.startswith,
    "str": lambda column: np.asarray(column).astype(np.str_),
    "strip": np.char.strip,
    "upper": np.char.upper,
}

# Names that no field can have: the expression cannot name them.
ROW_NAMES: Final = {"·*": _times, "·%": _rest, "·+": _plus}
COLUMN_NAMES: Final = {
    "·and": lambda *parts: np.logical_and.reduce(np.broadcast_arrays(*parts)),
    "·or": lambda *parts: np.logical_or.reduce(np.broadcast_arrays(*parts)),
    "·not": np.logical_not,
    "·in": np.isin,
    "·where": np.where,
    "·*": _times,
    "·%": _rest,
    "·+": np.add,
}

OPERATORS: Final = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod,
    ast.And, ast.Or, ast.Not, ast.USub, ast.UAdd,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot,
)  # fmt: skip
NODES: Final = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.Name,
    ast.Constant, ast.List, ast.Tuple, ast.Call, ast.Load, *OPERATORS,
)  # fmt: skip
FUNCTION_OF: Final = {ast.Mult: "·*", ast.Mod: "·%", ast.Add: "·+"}


@final
class Expression:
    """One expression, checked and compiled once."""

    __slots__ = ("_columns", "_rows", "fields", "text")

    def __init__(self, text: str) -> None:
        """Parse the text. Raises `UsageError` with the place of the problem."""
        self.text: Final = text
        tree = _parsed(text)
        self.fields: Final = frozenset(_fields(text, tree))
        """The fields that it names."""
        try:
            self._rows: CodeType = _compiled(_ForRows().visit(_parsed(text)))
            self._columns: CodeType = _compiled(_ForColumns().visit(tree))
        except RecursionError:
            raise _too_deep() from None

    def of_row(self, row: Mapping[str, Any]) -> Any:
        """The value for one row. Raises `FieldMissing`, and what the operators raise."""
        try:
            return eval(self._rows, _ROW_GLOBALS, row)  # noqa: S307 - only nodes of `NODES` are in it
        except NameError as error:
            raise FieldMissing(f"the field {error.name!r} is missing") from None

    def of_columns(self, columns: Columns, rows: int) -> npt.NDArray[Any]:
        """The values for all rows. Raises `FieldMissing`, and what the operators raise."""
        try:
            found = eval(self._columns, _COLUMN_GLOBALS, columns)  # noqa: S307 - see `of_row`
        except NameError as error:
            raise FieldMissing(f"the column {error.name!r} is missing") from None
        values = np.asarray(found)
        return values if values.ndim else np.full(rows, values)


def _parsed(text: str) -> ast.Expression:
    if not isinstance(text, str) or not text.strip() or len(text) > CHARACTERS_MAX:
        raise UsageError(
            f"an expression must be a text of 1 to {CHARACTERS_MAX:,} characters.",
            advice="Write a condition such as: amount > 0",
        )
    try:
        return ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise UsageError(
            f"the expression {text!r} is wrong at character {error.offset or 1}: {error.msg}.",
            advice="Write fields, constants, operators and functions.",
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise _too_deep() from None


def _too_deep() -> UsageError:
    return UsageError(
        "an expression nests too deep, or has a NUL character.", advice="Make it simpler."
    )


def _fields(text: str, tree: ast.Expression) -> Iterator[str]:
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, NODES):
            _refuse(text, node, f"{type(node).__name__.lower()} is not allowed")
        if isinstance(node, ast.Call):
            known = isinstance(node.func, ast.Name) and node.func.id in ROW_FUNCTIONS
            if not known or node.keywords:
                names = ", ".join(sorted(ROW_FUNCTIONS))
                _refuse(text, node, f"only these functions can be called: {names}")
        if isinstance(node, ast.Constant) and not isinstance(node.value, str | int | float | None):
            _refuse(text, node, "a constant is a text, a number, true, false or None")
        if isinstance(node, ast.Name) and id(node) not in functions:
            yield node.id


def _refuse(text: str, node: ast.AST, problem: str) -> NoReturn:
    place = getattr(node, "col_offset", 0) + 1
    raise UsageError(
        f"the expression {text!r} is wrong at character {place}: {problem}.",
        advice="Write fields, constants, operators and functions.",
    )


def _compiled(tree: Any) -> CodeType:
    ast.fix_missing_locations(tree)
    code: CodeType = compile(tree, "<expression>", "eval")
    return code


def _call(name: str, *parts: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(parts), [])


class _ForRows(ast.NodeTransformer):
    """Replaces the operators that could make huge texts."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        name = FUNCTION_OF.get(type(node.op))
        return node if name is None else _call(name, node.left, node.right)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        node.args = [self.visit(argument) for argument in node.args]
        assert isinstance(node.func, ast.Name), "checked by `_fields`"
        return _call(f"·{node.func.id}", *node.args)


class _ForColumns(_ForRows):
    """Replaces what does not work on whole columns."""

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        return _call("·and" if isinstance(node.op, ast.And) else "·or", *node.values)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return _call("·not", node.operand) if isinstance(node.op, ast.Not) else node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        return _call("·where", node.test, node.body, node.orelse)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        left, parts = node.left, list[ast.expr]()
        for operator, right in zip(node.ops, node.comparators, strict=True):
            match operator:
                case ast.In():
                    parts.append(_call("·in", left, right))
                case ast.NotIn():
                    parts.append(_call("·not", _call("·in", left, right)))
                case _:
                    parts.append(ast.Compare(left, [operator], [right]))
            left = right
        return parts[0] if len(parts) == 1 else _call("·and", *parts)


_ROW_GLOBALS: Final[dict[str, Any]] = {
    "__builtins__": {},
    **ROW_NAMES,
    **{f"·{name}": function for name, function in ROW_FUNCTIONS.items()},
}
_COLUMN_GLOBALS: Final[dict[str, Any]] = {
    "__builtins__": {},
    **COLUMN_NAMES,
    **{f"·{name}": function for name, function in COLUMN_FUNCTIONS.items()},
}
