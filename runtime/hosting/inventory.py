"""What a host can import, for drivers that ask before they start actors there.

An actor class travels by the name of its module, unless the driver's script defines it. So a host
needs the module, and without it says so by name.
"""

import asyncio
import importlib
import importlib.util
import pickletools
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from callboard.actors.kernel.actor import handler
from callboard.actors.kernel.host.extension import Extension
from callboard.messages.core.contract import Contract, Request

__all__ = ["SHIP_ADVICE", "FindModules", "Inventory", "ModulesFound", "modules_of"]

SHIP_ADVICE: Final = (
    "Let the driver ship it: modules=[PATH] in callboard.start or run, or `callboard run --ship "
    "PATH`. Or install it on every node."
)
EVERYWHERE: Final = frozenset({"__main__", "callboard", "cloudpickle", *sys.stdlib_module_names})
"""Top-level modules that every host has, or that travel by value."""
IMPORTS_BY_NAME: Final = "subimport"
"""cloudpickle's function for a module that other code refers to; the name follows."""


class ModulesFound(Contract, name="callboard.modules_found"):
    """The modules that a host cannot find, each with the reason, and the name of its node."""

    missing: dict[str, str]
    node: str = ""


class FindModules(Request[ModulesFound], name="callboard.find_modules"):
    """Look for modules, without importing them; their packages are imported."""

    modules: tuple[str, ...]


class Inventory(Extension):
    """The modules of one host, which cell 0 looks for. `node` gives the name of its node."""

    def __init__(self, node: Callable[[], str]) -> None:
        self._node = node

    @handler
    async def find_modules(self, request: FindModules) -> ModulesFound:
        """Look for modules in a thread: the import of a package may take seconds."""
        return await asyncio.to_thread(self._find, request.modules)

    def _find(self, modules: tuple[str, ...]) -> ModulesFound:
        importlib.invalidate_caches()  # A module may have been installed meanwhile.
        found = {name: _problem(name) for name in modules if name not in sys.modules}
        missing = {name: problem for name, problem in found.items() if problem}
        return ModulesFound(missing=missing, node=self._node() if missing else "")


def _problem(name: str) -> str:
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        return f"there is no module {error.name!r}"
    except Exception as error:  # noqa: BLE001 - a package may raise anything
        return f"{name!r} cannot be imported: {error!r}"
    return "" if found is not None else f"there is no module {name!r}"


def modules_of(pickled: bytes) -> frozenset[str]:
    """The modules that a pickle refers to by name, without those that every host has.

    `pickled` is one plain pickle. Nothing in it is run.
    """
    names = {name for name in _imports(pickled) if name.partition(".")[0] not in EVERYWHERE}
    return frozenset(names)


def _imports(pickled: bytes) -> Iterator[str]:
    pushed: list[Any] = ["", ""]
    """The last two values, as far as they are texts."""
    memo: list[Any] = []
    names_module = False
    for opcode, argument, _ in pickletools.genops(pickled):
        match opcode.name:
            case "MEMOIZE":
                memo.append(pushed[-1])
                continue
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "FRAME" | "PROTO":
                continue
            case "BINGET" | "LONG_BINGET" | "GET":
                place = int(argument or 0)
                value = memo[place] if place < len(memo) else None
            case "STACK_GLOBAL":
                module, name = pushed
                if isinstance(module, str):
                    yield module
                names_module = name == IMPORTS_BY_NAME
                value = None
            case _:
                value = argument if isinstance(argument, str) else None
        if names_module and isinstance(value, str):
            yield value
            names_module = False
        pushed = [pushed[-1], value]
