"""Finds the methods that `applies`, `decides` and `projects` mark, by their contracts."""

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import SpecError

from ..kernel.actor import check_returns, contract_in, plain_method

__all__ = ["contracts_of", "marked", "methods_of"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
_MARK: Final = "__callboard_event_role__"


def marked(function: FunctionT, role: str) -> FunctionT:
    """The function, marked with a role for `methods_of`."""
    setattr(function, _MARK, role)
    return function


def methods_of(owner: type, role: str, parameters: int, contract_at: int) -> Mapping[str, Any]:
    """The methods with this role, by the name of the contract in one parameter's annotation.

    Raises `SpecError` for a wrong number of parameters, an annotation that is no contract, a
    method that is an `async def` or yields, and two methods for one contract.
    """
    table: dict[str, Any] = {}
    for name in dir(owner):
        roles = [getattr(base.__dict__.get(name), _MARK, None) for base in owner.__mro__]
        if role not in roles:
            continue
        function = plain_method(owner, name)
        if function is None:
            continue
        where = f"{owner.__qualname__}.{name}"
        named = list(inspect.signature(function).parameters)[1:]
        if len(named) != parameters:
            raise SpecError(
                f"{where} has the signature {inspect.signature(function)}.",
                advice=f"It must take {parameters} arguments after self.",
            )
        if role != "decides" or not inspect.isgeneratorfunction(function):
            check_returns(where, function)
        if inspect.iscoroutinefunction(function):
            raise SpecError(
                f"{where} is an `async def`.",
                advice="Make it a `def`: it computes from its arguments alone, and never waits.",
            )
        try:
            hints = typing.get_type_hints(function)
        except Exception as error:
            raise SpecError(
                f"{where}: its annotations do not resolve: {error!r}.",
                advice="Define or import the contract at module level.",
            ) from error
        contract = contract_in(where, named[contract_at], hints)
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
