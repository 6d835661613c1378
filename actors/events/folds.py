"""Finds the methods that `applies`, `decides` and `projects` mark, by their contracts."""

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import SpecError

__all__ = ["contracts_of", "marked", "methods_of"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
_MARK: Final = "__callboard_event_role__"


def marked(function: FunctionT, role: str) -> FunctionT:
    """The function, marked with a role for `methods_of`."""
    setattr(function, _MARK, role)
    return function


def methods_of(owner: type, role: str, parameters: int, contract_at: int) -> Mapping[str, Any]:
    """The methods with this role, by the name of the contract in one parameter's annotation.

    Raises `SpecError` for a wrong number of parameters, an annotation that is no contract,
    and two methods for one contract.
    """
    table: dict[str, Any] = {}
    for name, function in inspect.getmembers(owner, inspect.isfunction):
        roles = [getattr(base.__dict__.get(name), _MARK, None) for base in owner.__mro__]
        if role not in roles:
            continue
        where = f"{owner.__qualname__}.{name}"
        named = list(inspect.signature(function).parameters)[1:]
        if len(named) != parameters:
            raise SpecError(
                f"{where} has the signature {inspect.signature(function)}.",
                advice=f"It must take {parameters} arguments after self.",
            )
        try:
            contract = typing.get_type_hints(function).get(named[contract_at])
        except Exception as error:
            raise SpecError(
                f"{where}: its annotations do not resolve: {error!r}.",
                advice="Define or import the contract at module level.",
            ) from error
        if not (isinstance(contract, type) and issubclass(contract, Contract)):
            raise SpecError(
                f"{where}: parameter {named[contract_at]!r} is annotated {contract!r}.",
                advice="Annotate it with a Contract class.",
            )
        if contract.contract_name in table:
            raise SpecError(
                f"{where}: another method takes {contract.contract_name} already.",
                advice="Write one method for each contract.",
            )
        table[contract.contract_name] = (function, contract)
    return table


def contracts_of(table: Mapping[str, Any]) -> list[type[Contract]]:
    """The contracts of the methods that `methods_of` found."""
    return [contract for _, contract in table.values()]
