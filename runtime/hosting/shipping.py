"""The modules that a driver ships to its hosts: checks them before Ray packs them."""

import os
import pathlib
import sys
from collections.abc import Iterable
from typing import Final, NoReturn

from callboard.messages.core.errors import SpecError

__all__ = ["checked_modules"]

FIELD: Final = "modules"
OURS: Final = frozenset({"actors", "messages", "runtime", "supervisors"})
"""Folders of Callboard, which must be imported as parts of `callboard` only."""


def checked_modules(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """The real paths of packages and modules. Raises `SpecError` for one that cannot be shipped.

    A path is a package (a folder with an `__init__.py`) or a module (a `.py` file), and is imported
    by its own name. A folder of a whole project is refused: all that lies in it would be on the
    path of every host, and could hide other modules.
    """
    found: dict[str, str] = {}
    for text in paths:
        path = pathlib.Path(text).resolve()
        name = _name_of(path)
        if name in found:
            _refuse(path, f"has the name of {found[name]}", "Rename one of them.")
        found[name] = str(path)
    return list(found.values())


def _name_of(path: pathlib.Path) -> str:
    if not path.exists():
        _refuse(path, "does not exist", "Name a package (a folder) or a .py file.")
    if path.is_dir() and not (path / "__init__.py").is_file():
        _refuse(
            path,
            "is a folder without __init__.py, so it is no package",
            "Name the package inside it, or its .py files one by one.",
        )
    if path.is_file() and path.suffix != ".py":
        _refuse(path, "is no Python module", "Name a package (a folder) or a .py file.")
    if (path.parent / "__init__.py").is_file():
        _refuse(
            path,
            f"is a part of the package {path.parent.name!r}",
            f"Ship the whole package: {path.parent}.",
        )
    name = path.name if path.is_dir() else path.stem
    if not name.isidentifier():
        _refuse(path, "has a name that cannot be imported", "Rename it.")
    if name == "callboard" or (name in OURS and _is_ours(path)):
        _refuse(path, "is a part of Callboard", "Install the same Callboard on every node instead.")
    if name in sys.stdlib_module_names:
        _refuse(path, "has the name of a module of Python's own library", "Rename it.")
    return name


def _is_ours(path: pathlib.Path) -> bool:
    package = pathlib.Path(__file__).resolve().parents[2]
    return path.parent == package


def _refuse(path: pathlib.Path, problem: str, advice: str) -> NoReturn:
    raise SpecError(
        f"{os.fspath(path)} cannot be shipped: it {problem}.", advice=advice, field=FIELD
    )
