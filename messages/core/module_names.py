"""Names of contracts without a `name=`: what both sides call the class of a program's own module.

Python calls the program that it runs `__main__`, and everybody who imports the same file calls it
by its name. A contract is named after the importable name:

| run as | the module's name |
|---|---|
| `python -m shop.service` | `shop.service` |
| `python service.py` | `service`, if `import service` finds this file |
| a notebook, a prompt, `python -c`, a file that no import finds | `__main__` |
"""

import functools
import importlib.util
import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

__all__ = ["former_name", "module_of", "near_match"]

MAIN: Final = "__main__"
PROGRAMS: Final = frozenset({MAIN, "__mp_main__"})
"""What Python calls the module of a program, and that of a child of `multiprocessing`."""
ALIKE: Final = 0.85
"""How alike a name must be to be suggested, from 0 to 1."""


def module_of(cls: type) -> str:
    """The importable name of the module that defines a class now."""
    if cls.__module__ not in PROGRAMS:
        return cls.__module__
    # The namespace of the statement, not `sys.modules`: a profiler or `runpy` may have its own.
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") not in PROGRAMS:
        frame = frame.f_back
    return MAIN if frame is None else _name_of(frame.f_globals)


def former_name(cls: type, name: str) -> str | None:
    """The name of a program's contract in what earlier releases stored, if it differs."""
    former = f"{MAIN}.{cls.__qualname__}"
    is_own = cls.__module__ in PROGRAMS and name.endswith(f".{cls.__qualname__}")
    return former if is_own and name != former else None


def _name_of(program: Mapping[str, Any]) -> str:
    spec = program.get("__spec__")
    if spec is not None:
        return str(spec.name)
    file = program.get("__file__")
    return MAIN if not isinstance(file, str) else _name_of_file(file)


@functools.lru_cache(maxsize=64)
def _name_of_file(file: str) -> str:
    path = Path(file)
    if not path.stem.isidentifier() or path.stem == MAIN:
        return MAIN
    try:
        found = importlib.util.find_spec(path.stem)
        is_found = found is not None and found.origin is not None and path.samefile(found.origin)
    except (ImportError, OSError, ValueError):
        return MAIN
    return path.stem if is_found else MAIN


def near_match(name: str, others: Iterable[str], verb: str) -> str:
    """What to say of a name that nobody has, when another one is nearly it; empty when none is.

    `verb` says what the others are: "offered", "known".
    """
    there = sorted(set(others) - {name})
    module, _, own = name.rpartition(".")
    twins = [other for other in there if other.rpartition(".")[2] == own]
    if not twins:
        alike = get_close_matches(name, there, 1, ALIKE)
        return f"; {alike[0]} is {verb}, which looks alike" if alike else ""
    twin = twins[0]
    if MAIN in {module, twin.rpartition(".")[0]}:
        return (
            f"; {twin} is {verb}: the same class of a program that was run as a script? Give it a "
            "name=..., or move it into a module that both sides import"
        )
    return (
        f"; {twin} is {verb}: the same class under another module name? Give it a name=..., or "
        "import it from the same module on both sides"
    )
