"""The types of rows: the one that `Projection[Row]` names, and which of them a store keeps.

A row is a contract, or plain data: `bool`, `int`, `float`, `str`, `bytes`, and lists and
dictionaries of these. Other types come back from the store as something else, as a tuple comes
back as a list; they are refused when the projection is made.
"""

import collections.abc
import sys
import types
import typing
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import SpecError

__all__ = ["row_contract"]

PLAIN: Final = frozenset({bool, int, float, str, bytes, list, dict, Any, object, types.NoneType})
CONTAINERS: Final = frozenset(
    {
        list,
        dict,
        collections.abc.Sequence,
        collections.abc.Mapping,
        collections.abc.MutableSequence,
        collections.abc.MutableMapping,
    }
)


def row_contract(projection: type[Any], base: type[Any]) -> type[Contract] | None:
    """The contract of a projection's rows; None for rows of plain data.

    It is `projection.row`, or else what the class says in `base[...]`. Raises `SpecError` for a
    type that no store keeps, and for two different contracts.
    """
    named = _named(projection, base)
    is_contract = isinstance(named, type) and issubclass(named, Contract)
    row: type[Contract] | None = projection.row
    if row is not None:
        if is_contract and named is not row:
            raise SpecError(
                f"{projection.__qualname__}.row is {row.__qualname__}, but the class is a "
                f"{base.__name__}[{named.__qualname__}].",
                advice="Leave `row` out, or name the same contract.",
                field="row",
            )
        return row
    if is_contract:
        return typing.cast("type[Contract]", named)
    wrong = None if isinstance(named, TypeVar) else _not_plain(named)
    if wrong is not None:
        raise SpecError(
            f"the rows of {projection.__qualname__} have the type {wrong}, which a store does not "
            "keep as it is.",
            advice="Use a Contract, or bool, int, float, str, bytes, and lists and dictionaries of "
            "these.",
            field="row",
        )
    return None


def _named(projection: type[Any], base: type[Any]) -> Any:
    """The type in `base[...]` of the nearest class that says one; Any when none does."""
    for cls in projection.__mro__:
        for generic in cls.__dict__.get("__orig_bases__", ()):
            origin = get_origin(generic)
            if isinstance(origin, type) and issubclass(origin, base):
                (named,) = get_args(generic)
                return _resolved(named, cls)
    return Any


def _resolved(named: Any, cls: type[Any]) -> Any:
    """The type of a name in quotes."""
    if not isinstance(named, typing.ForwardRef):
        return named

    def holder() -> None: ...

    holder.__annotations__ = {"row": named}
    try:
        return typing.get_type_hints(holder, vars(sys.modules[cls.__module__]))["row"]
    except Exception as error:
        raise SpecError(
            f"the row type {named.__forward_arg__!r} of {cls.__qualname__} does not resolve: "
            f"{error!r}.",
            advice="Define it at module level, before the projection is made.",
            field="row",
        ) from error


def _not_plain(named: Any) -> Any:
    """The part of a type that no store keeps as it is; None when there is none."""
    named = getattr(named, "__supertype__", named)  # Of a `NewType`.
    origin, parts = get_origin(named), get_args(named)
    if origin is Literal:
        return next((part for part in parts if type(part) not in PLAIN), None)
    if origin in CONTAINERS or origin in {Union, types.UnionType, typing.Annotated}:
        inside = parts[:1] if origin is typing.Annotated else parts
        return next((part for part in map(_not_plain, inside) if part is not None), None)
    if named in PLAIN or named in CONTAINERS or isinstance(named, TypeVar):
        return None
    if typing.is_typeddict(named):
        hints = typing.get_type_hints(named).values()
        return next((part for part in map(_not_plain, hints) if part is not None), None)
    return getattr(named, "__qualname__", named)
