"""Tests that start Ray are marked, so that `make test` never runs them in parallel."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

MARKS: Final = frozenset({"ray", "soak"})
"""Either keeps a test out of the parallel part."""
FIXTURES: Final = frozenset({"cluster", "ray_here"})
"""Fixtures that start Ray."""
STARTERS: Final = frozenset({"running_cluster", "ray_here"})
"""Names whose use starts Ray."""


def starts_ray(node: ast.AST) -> bool:
    """Whether something in a syntax tree starts Ray, or asks a fixture that does."""
    return any(map(_is_start, ast.walk(node)))


def _is_start(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="ray"), attr="init")):
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), keywords=keywords):
            engines = [key.value for key in keywords if key.arg == "engine"]
            return name in {"run", "start"} and [*map(ast.unparse, engines)] == ["'ray'"]
        case ast.Name(id=name) | ast.Constant(value=str(name)) if name in STARTERS:
            return True
        case ast.arg(arg=name):
            return name in FIXTURES
        case ast.ImportFrom(module="ray.cluster_utils"):
            return True
        case _:
            return False


def is_marked(node: ast.AST) -> bool:
    """Whether a mark `ray` or `soak` is in a syntax tree."""
    return any(
        isinstance(part, ast.Attribute)
        and part.attr in MARKS
        and ast.unparse(part.value) == "pytest.mark"
        for part in ast.walk(node)
    )


def unmarked(tree: ast.Module) -> Iterator[str]:
    """The tests of a file that start Ray without a mark, or what they may start it by."""
    marks = [node for node in tree.body if isinstance(node, ast.Assign) and is_marked(node)]
    if any(ast.unparse(target) == "pytestmark" for mark in marks for target in mark.targets):
        return
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("test_") and starts_ray(node) and not is_marked(node):
            yield node.name
    if starts_ray(tree) and not is_marked(tree):
        yield "no test of the file has the mark"


def test_every_test_that_starts_ray_is_marked(root: Path) -> None:
    files = sorted((root / "tests").rglob("test_*.py"))
    files.remove(Path(__file__))
    found = {
        path.relative_to(root).as_posix(): names
        for path in files
        if (names := list(unmarked(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert len(files) > 100
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "import ray\n\ndef test_a() -> None:\n    ray.init(address='local')\n",
        "async def test_a() -> None:\n    async with start(engine='ray'):\n        pass\n",
        "def test_a(cluster: Cluster) -> None:\n    pass\n",
        "def test_a() -> None:\n    with running_cluster() as cluster:\n        pass\n",
        "@pytest.mark.usefixtures('ray_here')\ndef test_a() -> None:\n    pass\n",
        "def begin():\n    return start(engine='ray')\n\ndef test_a() -> None:\n    begin()\n",
    ],
)
def test_a_missing_mark_is_noticed(text: str) -> None:
    assert list(unmarked(ast.parse(text)))
    assert not list(unmarked(ast.parse(f"pytestmark = pytest.mark.ray\n{text}")))
