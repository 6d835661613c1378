"""The operators that change the code: those of cosmic-ray that are defects, and one of ours.

Cosmic-ray has 211. Most of them make a `TypeError` of the first call (`a + b` becomes `a >> b`),
which any test finds: they would only raise the share. For each operator of the language the table
keeps what a person could have written by mistake: the neighbour and the opposite.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, final

from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.operators.provider import OperatorProvider
from parso.python.tree import Keyword

__all__ = ["OPERATORS", "RemoveStatement"]

KEPT: Final = (
    "AddNot",
    "ExceptionReplacer",
    "NumberReplacer",
    "ReplaceAndWithOr",
    "ReplaceBinaryOperator_Add_Sub",
    "ReplaceBinaryOperator_BitAnd_BitOr",
    "ReplaceBinaryOperator_BitOr_BitAnd",
    "ReplaceBinaryOperator_Div_Mul",
    "ReplaceBinaryOperator_FloorDiv_Mul",
    "ReplaceBinaryOperator_LShift_RShift",
    "ReplaceBinaryOperator_Mod_FloorDiv",
    "ReplaceBinaryOperator_Mul_Div",
    "ReplaceBinaryOperator_Pow_Mul",
    "ReplaceBinaryOperator_RShift_LShift",
    "ReplaceBinaryOperator_Sub_Add",
    "ReplaceBreakWithContinue",
    "ReplaceComparisonOperator_Eq_NotEq",
    "ReplaceComparisonOperator_GtE_Gt",
    "ReplaceComparisonOperator_GtE_Lt",
    "ReplaceComparisonOperator_Gt_GtE",
    "ReplaceComparisonOperator_Gt_LtE",
    "ReplaceComparisonOperator_IsNot_Is",
    "ReplaceComparisonOperator_Is_IsNot",
    "ReplaceComparisonOperator_LtE_Gt",
    "ReplaceComparisonOperator_LtE_Lt",
    "ReplaceComparisonOperator_Lt_GtE",
    "ReplaceComparisonOperator_Lt_LtE",
    "ReplaceComparisonOperator_NotEq_Eq",
    "ReplaceContinueWithBreak",
    "ReplaceFalseWithTrue",
    "ReplaceOrWithAnd",
    "ReplaceTrueWithFalse",
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_USub_UAdd",
    "ZeroIterationForLoop",
)
CALLS: Final = frozenset({"atom_expr", "power", "await", "yield_expr"})
GONE: Final = frozenset({"del_stmt", "raise_stmt"})
CONSTRUCTORS: Final = frozenset({"__init__", "__new__"})


@final
class RemoveStatement(Operator):  # type: ignore[misc]  # cosmic-ray has no types
    """Puts `pass` in place of a statement that has an effect.

    That is a call, a `del`, a `raise`, an assignment to an attribute or an item, and an augmented
    assignment. Any other assignment would be a `NameError` of the next line. An attribute that a
    constructor does not set is an `AttributeError` of the first use.
    """

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """The statement of a line, if it is one of these."""
        if _has_effect(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """`pass`, where the statement was."""
        del index
        first = node.get_first_leaf()
        gone = Keyword("pass", first.start_pos, first.prefix)
        gone.parent = node.parent
        return gone

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        """One of each kind."""
        return (
            Example("forget(x)\n", "pass\n"),
            Example("del a[b]\n", "pass\n"),
            Example("def f():\n    a.b = c\n", "def f():\n    pass\n"),
            Example("a += 1\n", "pass\n"),
            Example("if a:\n    raise B\n", "if a:\n    pass\n"),
        )


def _has_effect(node: Any) -> bool:
    if node.parent is None or node.parent.type != "simple_stmt":
        return False
    if node.type in GONE:
        return True
    if node.type in CALLS:
        return str(node.get_last_leaf().value) == ")" or node.type == "yield_expr"
    if node.type != "expr_stmt":
        return False
    target, after = node.children[0], node.children[1]
    if getattr(after, "type", "") == "operator" and after.value not in {"=", ":="}:
        return True
    return target.type in {"atom_expr", "power"} and not _is_constructed(node)


def _is_constructed(node: Any) -> bool:
    """Whether a constructor makes this assignment."""
    while node is not None and node.type != "funcdef":
        node = node.parent
    return node is not None and node.name.value in CONSTRUCTORS


def _kept() -> Iterator[tuple[str, Any]]:
    offered = OperatorProvider()
    for name in KEPT:
        yield name, offered[name]()
    yield RemoveStatement.__name__, RemoveStatement()


OPERATORS: Final[Mapping[str, Any]] = MappingProxyType(dict(_kept()))
"""The operators by name."""
