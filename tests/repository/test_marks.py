"""The marks and settings of tests, so that none fails on a busy machine.

Tests that start Ray are marked: `make test` never runs them in parallel. No test has a limit of
Hypothesis' time.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from tests.thoroughness import PROFILES, examples, sharing_fixtures

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


# --- Hypothesis ---------------------------------------------------------------------------------

LIMITS: Final = frozenset({"deadline", "suppress_health_check"})
"""The settings that only `tests/thoroughness.py` makes."""


def limits(tree: ast.AST) -> list[str]:
    """The limits that a file sets for itself, and profiles of its own."""
    return [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for name in (*(key.arg for key in node.keywords), ast.unparse(node.func))
        if name in LIMITS or name in {"settings.register_profile", "settings.get_profile"}
    ]


def test_no_test_has_limits_of_hypothesis_of_its_own(root: Path) -> None:
    files = sorted((root / "tests").rglob("*.py"))
    found = {
        path.relative_to(root).as_posix(): names
        for path in files
        if (names := limits(ast.parse(path.read_text(encoding="utf-8"))))
    }
    here = Path(__file__).relative_to(root).as_posix()
    assert found.keys() == {"tests/thoroughness.py", here}


@pytest.mark.parametrize(
    "text",
    [
        "@settings(max_examples=9, deadline=None)\ndef test_a(): pass\n",
        "A.settings = settings(deadline=300)\n",
        "@settings(suppress_health_check=[])\ndef test_a(): pass\n",
        "settings.register_profile('mine')\n",
    ],
)
def test_a_limit_is_noticed(text: str) -> None:
    assert limits(ast.parse(text))


def test_every_profile_lets_a_test_take_its_time() -> None:
    for name, count in PROFILES.items():
        profile = settings.get_profile(name)
        assert (profile.deadline, profile.max_examples) == (None, count)
        assert HealthCheck.too_slow in profile.suppress_health_check


def test_settings_of_a_test_have_those_of_the_profile() -> None:
    for made in (settings(max_examples=examples(8)), sharing_fixtures()):
        assert made.deadline is None
        assert HealthCheck.too_slow in made.suppress_health_check
