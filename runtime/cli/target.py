"""The target of `callboard run`: a driver script, a function, or an actor class.

The name of a target is a path, or `module:name`, seen from the working folder.
"""

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from callboard.actors.kernel.actor import Actor, behaviour_of
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import UsageError

__all__ = ["Function", "Script", "Target", "actor_in", "find_target", "request_for"]

PROBLEMS_SHOWN_MAX: Final = 5
TARGET_ADVICE: Final = "Name a driver script (driver.py), or module:function, or module:ActorClass."


@dataclass(frozen=True, slots=True)
class Script:
    """A driver script, run as `__main__`."""

    path: Path


@dataclass(frozen=True, slots=True)
class Function:
    """`async def main(system)` of a module."""

    name: str
    function: Callable[[Any], Coroutine[Any, Any, Any]]


Target = Script | Function | type[Actor]


def find_target(name: str) -> Target:
    """The target of that name. Raises `UsageError` when there is none.

    It imports the module, and raises what the import raises.
    """
    path = Path(name)
    if path.is_file():
        return Script(path)
    module_name, colon, attribute = name.partition(":")
    if not colon:
        if path.is_dir() or path.suffix == ".py" or len(path.parts) > 1:
            raise UsageError(f"the file {name!r} does not exist.", advice=TARGET_ADVICE)
        raise UsageError(f"{name!r} names no target.", advice=TARGET_ADVICE)
    found = _attribute(name, _module(module_name), attribute)
    if isinstance(found, type) and issubclass(found, Actor):
        return found
    if inspect.iscoroutinefunction(found):
        return Function(name, found)
    raise UsageError(
        f"{name} is neither an Actor class nor an `async def` function that takes the system.",
        advice=TARGET_ADVICE,
    )


def actor_in(neighbour: type[Actor], name: str) -> type[Actor]:
    """The actor class of that name in the neighbour's module, or `module:Class` of any module."""
    full = name if ":" in name else f"{neighbour.__module__}:{name}"
    found = find_target(full)
    if isinstance(found, type):
        return found
    raise UsageError(
        f"{full} is no Actor class.", advice="A pool is made of actors that handle a request."
    )


def _module(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # The module exists, but one of its imports does not.
        raise UsageError(
            f"there is no module {name!r}.",
            advice="Run the command in the folder of the module, or install the module.",
        ) from None
    except ValueError as error:
        raise UsageError(f"{name!r} is no module name.", advice=TARGET_ADVICE) from error


def _attribute(name: str, module: Any, attribute: str) -> Any:
    found = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None:
        offers = ", ".join(sorted(_runnable(module))) or "no target"
        raise UsageError(
            f"there is no {name}.", advice=f"{module.__name__} has: {offers}.", target=name
        )
    return found


def _runnable(module: Any) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
        and (
            inspect.iscoroutinefunction(value)
            or (isinstance(value, type) and issubclass(value, Actor))
        )
    ]


def request_for(actor: type[Actor], fields: str, contract: str | None) -> Request[Any]:
    """The request for one of the actor's handlers, from `fields`, a JSON object.

    `contract` is the request's full name or its class; an actor with one request needs none.
    Raises `UsageError` that names the wrong fields.
    """
    chosen = _contract(actor, contract)
    try:
        values = json.loads(fields)
    except ValueError as error:
        raise UsageError(
            f"--request is no JSON: {error}.",
            advice=f"Write the fields of {chosen.__name__} as an object: {_example(chosen)}",
        ) from None
    if not isinstance(values, dict):
        raise UsageError(
            "--request is no JSON object.",
            advice=f"Write the fields of {chosen.__name__}: {_example(chosen)}",
        )
    try:
        request: Request[Any] = chosen.model_validate_json(fields)
    except ValidationError as error:
        rows = error.errors(include_url=False, include_context=False, include_input=False)
        problems = "; ".join(
            f"{'.'.join(map(str, row['loc'])) or 'the object'}: {row['msg']}"
            for row in rows[:PROBLEMS_SHOWN_MAX]
        )
        raise UsageError(
            f"--request does not match {chosen.contract_name}: {problems}.",
            advice=f"Write it like this: {_example(chosen)}",
        ) from None
    return request


def _contract(actor: type[Actor], name: str | None) -> type[Request[Any]]:
    asked = {
        row.contract.contract_name: row.contract
        for row in behaviour_of(actor).handlers.values()
        if issubclass(row.contract, Request)
    }
    known = ", ".join(sorted(cls.__name__ for cls in asked.values())) or "none"
    if name is None:
        if len(asked) == 1:
            return next(iter(asked.values()))
        raise UsageError(
            f"{actor.__name__} answers {len(asked)} requests ({known}).",
            advice="Choose one with --contract." if asked else "Add a handler for a Request.",
        )
    found = [cls for full, cls in asked.items() if name in (full, cls.__name__)]
    if len(found) != 1:
        raise UsageError(
            f"{actor.__name__} answers no request {name!r}.", advice=f"It answers: {known}."
        )
    return found[0]


def _example(contract: type[Contract]) -> str:
    shapes: Mapping[str, Any] = contract.model_json_schema().get("properties", {})
    fields = {
        name: f"<{shape.get('type', 'value')}>"
        for name, shape in shapes.items()
        if contract.model_fields[name].is_required()
    }
    return json.dumps(fields)
