"""Scripts that tests, benchmarks and examples hold as strings are Python, and import what exists.

Type checkers do not look into strings. Without these tests a moved module or a misspelt name
shows only where the script runs: perhaps in a test that runs for minutes, or only on Ray.
"""

import ast
import importlib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

FOLDERS: Final = ("bench", "examples", "tests")
EXCEPT: Final = ("tests/data", "tests/repository")
"""A script for the release before, and the made-up sources of tests like this one."""
PLACEHOLDER: Final = "_placeholder_"
"""Stands for what an f-string fills in; what imports it is not checked."""


def scripts_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The strings that import something of Callboard, with their lines."""
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        match node:
            case ast.Constant(value=str(text)):
                pass
            case ast.JoinedStr(values=values):
                parts = [
                    value.value if isinstance(value, ast.Constant) else None for value in values
                ]
                text = "".join(PLACEHOLDER if part is None else str(part) for part in parts)
            case _:
                continue
        lines = [line.strip() for line in text.splitlines()]
        if any(line.startswith(("import callboard", "from callboard")) for line in lines):
            # What `str.format` fills in may say how; a script of its own never does.
            yield getattr(node, "lineno", 0), textwrap.dedent(text.replace("!r}", "}"))


def missing(script: str) -> Iterator[str]:
    """What is wrong with a script: it does not parse, or imports what is not there."""
    try:
        tree = ast.parse(script)
    except SyntaxError as error:
        yield f"no Python: {error}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names: list[tuple[str, str | None]] = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in names:
            if module.partition(".")[0] == "callboard" and not _is_there(module, name):
                yield f"not there: {module}" + (f", {name}" if name else "")


def _is_there(module: str, name: str | None) -> bool:
    try:
        found = importlib.import_module(module)
        return (
            name is None
            or name == "*"
            or hasattr(found, name)
            or bool(importlib.import_module(f"{module}.{name}"))
        )
    except ModuleNotFoundError:
        return False


def test_scripts_in_strings_parse_and_import_what_is_there(root: Path) -> None:
    found: list[str] = []
    count = 0
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if name.startswith(EXCEPT):
                continue
            for line, script in scripts_in(ast.parse(path.read_text(encoding="utf-8"))):
                count += 1
                found += [f"{name}:{line}: {breach}" for breach in missing(script)]
    assert count > 20
    assert found == []


@pytest.mark.parametrize(
    "script",
    [
        "from callboard.nowhere import x",
        "from callboard import Nothing",
        "import callboard.actors.nowhere",
        "import callboard\nf(non-idempotent=True)",
    ],
)
def test_a_breach_is_noticed(script: str) -> None:
    ((line, text),) = scripts_in(ast.parse(f"x = 1\nSCRIPT = {script!r}\n"))
    assert line == 2
    assert list(missing(text))


def test_a_script_that_is_right_passes() -> None:
    text = "    from callboard.supervision import ActorSpec\n    import callboard.testing\n"
    ((_, script),) = scripts_in(ast.parse(f"SCRIPT = f{text!r}\n"))
    assert not list(missing(script))
