"""The public names: each has one home, is documented there, and costs nothing until it is used."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

import callboard

TYPING_ALIASES: Final = frozenset({"Array"})
PLAIN: Final = frozenset({"__version__"})
NAMES: Final = sorted(set(callboard.__all__) - PLAIN)
IMPORT: Final = """
import sys, time
began = time.perf_counter()
import callboard
took_s = time.perf_counter() - began
heavy = {"ray", "numpy", "pydantic", "asyncio", "click"} & set(sys.modules)
assert not heavy, f"import callboard imports {heavy}"
assert took_s < 0.5, took_s
assert sorted(callboard.__all__) == callboard.__all__
"""


def type_checked_imports() -> dict[str, set[str]]:
    """What type checkers read: the imports under `if TYPE_CHECKING`, by module."""
    assert callboard.__file__ is not None
    tree = ast.parse(Path(callboard.__file__).read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("callboard."):
            assert node.module is not None
            found.setdefault(node.module, set()).update(alias.name for alias in node.names)
    return found


def test_importing_the_package_is_free() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_using_it_without_a_cluster_does_not_import_ray() -> None:
    code = "import sys, callboard\nfor name in callboard.__all__: getattr(callboard, name)\n"
    code += "assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_type_checkers_and_programs_find_the_same_names_in_the_same_places() -> None:
    homes = {home: set(names) for home, names in callboard._HOMES.items()}
    assert type_checked_imports() == homes
    every = [name for names in homes.values() for name in names]
    assert sorted(every) == NAMES, "__all__ and the homes differ, or a name has two homes"


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_defined_and_public_in_its_home(name: str) -> None:
    value: Any = getattr(callboard, name)
    (home,) = (home for home, names in callboard._HOMES.items() if name in names)
    if inspect.ismodule(value):
        assert value.__name__ == f"{home}.{name}"
        assert value.__doc__
        return
    module = importlib.import_module(home)
    assert value is getattr(module, name)
    assert name in module.__all__
    if name not in TYPING_ALIASES:
        assert value.__module__ == home, "re-exported there, defined elsewhere"
        assert inspect.getdoc(value), "no docstring"


def test_every_error_is_in_errors_and_has_one_base() -> None:
    for name in callboard.errors.__all__:
        found = getattr(callboard.errors, name)
        if isinstance(found, type):
            assert issubclass(found, callboard.CallboardError)
            assert found.__doc__


def test_a_misspelt_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Agnet"):
        _ = callboard.Agnet  # type: ignore[attr-defined]


def test_names_are_listed_before_they_are_used() -> None:
    code = "import callboard; assert set(callboard.__all__) <= set(dir(callboard))"
    subprocess.run([sys.executable, "-c", code], check=True)
