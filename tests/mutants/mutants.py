"""Mutants: which there are, what is none, what each is called, and the order of a sample.

A mutant is known by its file, its function, its operator and the text of its line, not by a line
number. So a change elsewhere in the file renames none, and a sample hardly changes.
"""

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.work_item import MutationSpec, WorkItem

from .operators import OPERATORS

__all__ = ["Mutant", "mutants_of", "sampled"]

LOGGERS: Final = re.compile(r"_?log(ger)?$", re.IGNORECASE)
BINARY: Final = "ReplaceBinaryOperator"
UNSEEN: Final = frozenset({"__repr__", "validate", "validate_state"})
"""Functions that people read in a debugger, or that only tests call."""
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)

Position = tuple[int, int]
"""A line from 1 and a column from 0, in characters."""
Span = tuple[Position, Position]


@final
@dataclass(frozen=True, slots=True)
class Mutant:
    """One small change of one file."""

    file: str
    function: str
    """With its classes, as in `__qualname__`; empty outside of functions."""
    operator: str
    source: str
    """The line that changes, without its margin."""
    nth: int
    """Which of the changes that this operator can make to lines of this text in the function."""
    line: int
    """Where the line is today; not a part of the mutant's name, as all that follows."""
    statement: int
    """The first line of its statement."""
    occurrence: int
    """Which of the changes that this operator can make to the file."""
    span: Span

    @property
    def name(self) -> str:
        """A digest of what the mutant is known by."""
        return _digest(self.file, self.function, self.operator, self.source, self.nth)[:20]

    @property
    def place(self) -> str:
        """The file, the line, the function and the operator, for people."""
        return f"{self.file}:{self.line} {self.function or '(module)'} {self.operator}"

    def code(self, text: str) -> str:
        """The file's text with the change in it."""
        return str(mutate_code(text, OPERATORS[self.operator], self.occurrence))

    def becomes(self, text: str) -> str:
        """The line that stands in place of `source`, without its margin."""
        changed = self.code(text).splitlines()
        return changed[self.line - 1].strip()

    def work_item(self) -> WorkItem:
        """The mutant as an entry of a session of cosmic-ray."""
        begin, end = self.span
        return WorkItem.single(
            self.name,
            MutationSpec(
                module_path=Path(self.file),
                operator_name=f"core/{self.operator}",
                occurrence=self.occurrence,
                start_pos=begin,
                end_pos=end,
                definition_name=self.function,
            ),
        )


def mutants_of(file: str, text: str) -> Iterator[Mutant]:
    """All mutants of one file, in the order of the operators' names and of the file."""
    tree = ast.parse(text)
    lines = text.splitlines()
    places = _Places(tree, lines)
    nodes = list(ast_nodes(get_ast(text)))
    seen: Counter[tuple[str, str, str]] = Counter()
    for name, operator in sorted(OPERATORS.items()):
        spans = (span for node in nodes for span in operator.mutation_positions(node))
        for occurrence, span in enumerate(spans):
            begin = span[0]
            if places.is_noise(begin) or (name.startswith(BINARY) and not places.is_sum(begin)):
                continue
            function, source = places.function(begin), lines[begin[0] - 1].strip()
            nth = seen[function, name, source]
            seen[function, name, source] += 1
            statement = places.statement(begin)
            yield Mutant(
                file, function, name, source, nth, begin[0], statement, occurrence, span
            )  # fmt: skip


def sampled(mutants: Iterable[Mutant], seed: int, count: int | None) -> list[Mutant]:
    """The first `count` mutants in an order that the seed draws; all without a count."""
    return sorted(mutants, key=lambda mutant: _digest(seed, mutant.name))[:count]


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


class _Places:
    """The functions of a file, and the parts of it in which a change is no defect."""

    def __init__(self, tree: ast.Module, lines: list[str]) -> None:
        self._lines = lines
        self._noise: list[Span] = [
            self._span(part) for node in ast.walk(tree) for part in _noise_of(node)
        ]
        self._noise += [self._span(part) for part in _constants(tree)]
        sums = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp)]
        self._sums = [self._span(node) for node in sums]
        statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
        self._statements = [self._span(node) for node in statements]
        self._functions = list(self._functions_in(tree, ""))

    def is_noise(self, position: Position) -> bool:
        """Whether a change here is no defect."""
        return any(begin <= position < end for begin, end in self._noise)

    def is_sum(self, position: Position) -> bool:
        """Whether an operator here has two operands: the `*` of a signature has none."""
        return any(begin <= position < end for begin, end in self._sums)

    def function(self, position: Position) -> str:
        """The innermost function or class around a position."""
        around = [name for name, (begin, end) in self._functions if begin <= position < end]
        return around[-1] if around else ""

    def statement(self, position: Position) -> int:
        """The first line of the innermost statement around a position."""
        return max((b[0] for b, end in self._statements if b <= position < end), default=1)

    def _functions_in(self, node: ast.AST, prefix: str) -> Iterator[tuple[str, Span]]:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, (*FUNCTIONS, ast.ClassDef)):
                yield f"{prefix}{child.name}", self._span(child)
                inner = f"{prefix}{child.name}."
            yield from self._functions_in(child, inner)

    def _span(self, node: Any) -> Span:
        return (
            (node.lineno, self._column(node.lineno, node.col_offset)),
            (node.end_lineno, self._column(node.end_lineno, node.end_col_offset)),
        )

    def _column(self, line: int, offset: int) -> int:
        """The column in characters: Python's parser counts bytes."""
        return len(self._lines[line - 1].encode()[:offset].decode())


def _noise_of(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node in which a change is no defect of what the code does.

    Types and decorators are for the type checker, or for a class as a whole. An `assert`, and the
    `strict` of a `zip`, can fail only by a defect: the opposite is found by any test, and what is
    weaker cannot be found; the same holds for `validate_state`, and for an error that reports a
    defect. Texts of logs and errors, and `__repr__`, are read by people. Limits, and numbers above
    1 that are defaults, are tuned. The values of an enumeration only tell its members apart.
    """
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield from _noise_of_definition(node)
        case ast.arg(annotation=annotation) if annotation is not None:
            yield annotation
        case ast.arguments(defaults=defaults, kw_defaults=kw_defaults):
            yield from (each for each in (*defaults, *filter(None, kw_defaults)) if _is_tuned(each))
        case ast.AnnAssign(annotation=annotation):
            yield annotation
        case ast.Assert():
            yield node
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            yield node
        case ast.Call(func=ast.Name(id="assert_never")):
            yield node
        case ast.Call(func=ast.Name(id="cast" | "TypeVar"), args=[type_, *_]):
            yield type_
        case ast.Call(func=ast.Name(id="isinstance"), args=[_, type_]):
            yield type_
        case ast.Call(func=ast.Name(id="zip"), keywords=keywords):
            yield from keywords
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if LOGGERS.fullmatch(name):
            yield node
        case ast.Raise(exc=ast.Call(func=ast.Name(id="AssertionError" | "InternalError"))):
            yield node
        case ast.Raise(exc=ast.Call() as call):
            yield from (part for part in ast.walk(call) if isinstance(part, ast.JoinedStr))
        case _:
            pass


def _noise_of_definition(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
) -> Iterator[ast.AST]:
    yield from node.decorator_list
    if isinstance(node, ast.ClassDef):
        if node.name.endswith("Limits"):
            yield from (part for part in node.body if isinstance(part, ast.AnnAssign))
        if any(ast.unparse(base).endswith("Enum") for base in node.bases):
            yield from (part for part in node.body if isinstance(part, ast.Assign))
        return
    if node.returns is not None:
        yield node.returns
    if node.name in UNSEEN:
        yield node


def _is_tuned(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value > 1


def _constants(tree: ast.Module) -> Iterator[ast.AST]:
    """Values of a module's names: types, and quantities that are tuned, not right or wrong."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            yield node
