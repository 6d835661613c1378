"""No import circle, also none that only a type checker sees; and a kernel that names no role.

Both are read from the syntax trees: imports inside functions and under TYPE_CHECKING count
like any others. The second half of this file shows that a breach would be noticed.
"""

import ast
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

PRODUCT: Final = ("actors", "messages", "runtime", "supervisors")
KERNEL: Final = "actors/kernel/"
"""The folder of the kernel."""

Sources = Mapping[str, ast.Module]
"""Syntax trees by their path in the repository."""


@pytest.fixture(scope="module")
def sources(root: Path) -> Sources:
    return {
        path.relative_to(root).as_posix(): ast.parse(path.read_text(), str(path))
        for folder in PRODUCT
        for path in sorted((root / folder).rglob("*.py"))
    }


# --- reading ------------------------------------------------------------------------------------


def module_of(path: str) -> str:
    """The dotted name of a file, without the package's own."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports_of(path: str, tree: ast.Module, modules: Container[str]) -> set[str]:
    """The modules that a file imports anywhere in it, itself left out."""
    package = (
        module_of(path) if path.endswith("/__init__.py") else module_of(path).rpartition(".")[0]
    )
    above = package.split(".")
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.removeprefix("callboard.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            near = above[: len(above) - node.level + 1] if node.level else []
            start = ".".join([*near, *([node.module] if node.module else [])])
            start = start.removeprefix("callboard.")
            names = [f"{start}.{alias.name}" for alias in node.names]
            found.update(name if name in modules else start for name in names)
    return {name for name in found if name in modules and name != module_of(path)}


def graph_of(sources: Sources) -> dict[str, set[str]]:
    modules = {module_of(path) for path in sources}
    return {module_of(path): imports_of(path, tree, modules) for path, tree in sources.items()}


def circles_in(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The sets of modules that reach each other."""
    reach = {module: reached(module, graph) for module in graph}
    circles = {
        module: sorted(other for other in found if module in reach[other])
        for module, found in reach.items()
        if module in found
    }
    return [circle for module, circle in circles.items() if circle[0] == module]


def reached(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """What a module imports, directly or by others; itself only by a circle."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def is_kernel(path: str) -> bool:
    return path.startswith(KERNEL)


def is_role(path: str) -> bool:
    return path.startswith("actors/") and path != "actors/__init__.py" and not is_kernel(path)


def roles_named(sources: Sources) -> list[str]:
    """Where a kernel file imports anything but the kernel and messages."""
    modules = {module_of(path): path for path in sources}
    allowed = {module for module, path in modules.items() if is_kernel(path)}
    return [
        f"{path} imports {name}"
        for path, tree in sources.items()
        if is_kernel(path)
        for name in sorted(imports_of(path, tree, modules))
        if name not in allowed and name != "actors" and not name.startswith("messages")
    ]


def role_classes(sources: Sources) -> set[str]:
    """The classes that only roles have."""
    classes: dict[bool, set[str]] = {True: set(), False: set()}
    for path, tree in sources.items():
        if is_kernel(path) or is_role(path):
            nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
            classes[is_role(path)].update(node.name for node in nodes)
    return classes[True] - classes[False]


def type_tests(tree: ast.Module) -> Iterator[tuple[int, set[str]]]:
    """The lines that look at a type, and the names in them: as names and as texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            is_test = node.func.id in {"isinstance", "issubclass"}
        elif isinstance(node, ast.MatchClass):
            is_test = True
        elif isinstance(node, ast.Compare):
            kinds = ("__class__", "__name__", "__qualname__", "actor", "type")
            text = ast.unparse(node)
            is_test = any(kind in text for kind in kinds)
        else:
            continue
        if is_test:
            parts = list(ast.walk(node))
            names = {part.id for part in parts if isinstance(part, ast.Name)}
            names |= {part.attr for part in parts if isinstance(part, ast.Attribute)}
            names |= {str(part.value) for part in parts if isinstance(part, ast.Constant)}
            yield getattr(node, "lineno", 0), names


def roles_tested(sources: Sources) -> list[str]:
    """Where a kernel file asks whether something is of a role's type."""
    classes = role_classes(sources)
    return [
        f"{path}:{line} tests for {', '.join(sorted(names & classes))}"
        for path, tree in sources.items()
        if is_kernel(path)
        for line, names in type_tests(tree)
        if names & classes
    ]


# --- what must hold -----------------------------------------------------------------------------


def test_no_module_is_in_an_import_circle(sources: Sources) -> None:
    assert circles_in(graph_of(sources)) == []


def test_the_kernel_imports_no_role(sources: Sources) -> None:
    assert roles_named(sources) == []


def test_the_kernel_asks_for_no_type_of_a_role(sources: Sources) -> None:
    assert roles_tested(sources) == []


def test_kernel_and_roles_are_there(sources: Sources) -> None:
    """Neither list has gone empty by a move, which would let everything pass."""
    assert sum(map(is_kernel, sources)) > 30
    assert {"PoolCell", "SupervisorCell", "RemoteChildCell", "KeyRegion"} <= role_classes(sources)


# --- a breach would be noticed --------------------------------------------------------------------


def written(texts: Mapping[str, str]) -> Sources:
    return {path: ast.parse(text) for path, text in texts.items()}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("from .b import B", "from .a import A"),
        ("from . import b", "import callboard.actors.a"),
        ("from callboard.actors.b import B", "def f():\n    from .a import A"),
        ("from callboard.actors import b", "if TYPE_CHECKING:\n    from .a import A"),
        ("from .c import C", "from ..actors.a import A"),
    ],
)
def test_a_circle_is_noticed(first: str, second: str) -> None:
    texts = {"actors/a.py": first, "actors/b.py": second, "actors/c.py": "from . import x, b"}
    assert circles_in(graph_of(written(texts)))
    assert circles_in(graph_of(written({**texts, "actors/b.py": ""}))) == []


@pytest.mark.parametrize(
    "line",
    [
        "isinstance(cell, Role)",
        "type(cell) is Role",
        "cell.recipe.actor is Role",
        "isinstance(cell, Cell | role.Role)",
        "type(cell).__name__ == 'Role'",
        "match cell:\n    case Role():\n        pass",
    ],
)
def test_a_named_role_is_noticed(line: str) -> None:
    role = "class Role: ..."
    tests = written({"actors/kernel/a.py": line, "actors/role.py": role})
    assert roles_tested(tests)
    imported = f"def f():\n    from ..role import Role\n    {line.splitlines()[0]}".rstrip(":")
    imports = written(
        {"actors/kernel/a.py": imported.split("\n    match")[0], "actors/role.py": role}
    )
    assert roles_named(imports) == ["actors/kernel/a.py imports actors.role"]
