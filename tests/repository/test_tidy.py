"""Style that can be measured is a test: taste that is not checked erodes.

Each rule is a function from one parsed file to its breaches, so that the second half of this
file can show, on small made-up sources, that the rule would notice.
"""

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import pytest

FILE_LINES_MAX: Final = 600
FUNCTION_LINES_MAX: Final = 70
FOLDERS: Final = frozenset({"actors", "messages", "runtime", "supervisors"})
BANNED_NAMES: Final = frozenset(
    {"base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
)
BANNED_CLASSES: Final = re.compile(r"^_?Base[A-Z]|(Manager|Helper|Helpers|Util|Utils)$")
# Names of the data-flow document, which are kept.
GIVEN_CLASSES: Final = frozenset({"AgentStateManager", "AlertManager"})
UNFINISHED: Final = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MACHINE: Final = re.compile(
    r"(?<![\w.~/-])/(?:work|root|opt|home|Users|tmp)/\w"
    r"|--(?:extra-)?index-url|--find-links|artifactory|jfrog|nexus[./]",
    re.IGNORECASE,
)
THIS_FILE: Final = Path("tests/repository/test_tidy.py")
TEXTS: Final = frozenset({".md", ".toml", ".yaml", ".yml", ".py", ".sh", ".cfg", ".ini", ""})
# Ray keeps its sessions there on every machine, so documents may say so.
RAY_SESSIONS: Final = "/tmp/ray"
LICENCE: Final = Path("LICENSE")
# What is no text there has no suffix either: results as a journal's store keeps them.
DATA: Final = Path("tests/data")


@dataclass(frozen=True)
class Source:
    """One file of the repository, with its syntax tree if it is Python."""

    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the tree: each rule looks at them, and a walk takes longer than a rule."""
        return list(ast.walk(self.tree))

    @property
    def is_test(self) -> bool:
        return self.path.parts[0] == "tests"

    @property
    def module(self) -> str:
        """The dotted name by which the package knows this file; "" outside the package."""
        if self.path.parts[0] not in FOLDERS:
            return ""
        parts = self.path.with_suffix("").parts
        return ".".join(("callboard", *(part for part in parts if part != "__init__")))


Rule = Callable[[Source], Iterator[str]]


# --- the rules ----------------------------------------------------------------------------------


def short_files(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{lines} lines, at most {FILE_LINES_MAX}: split it by ideas"


def short_functions(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"line {node.lineno}: {node.name} has {lines} lines"


def clear_names(source: Source) -> Iterator[str]:
    for part in source.path.with_suffix("").parts:
        words = part.strip("_").split("_")
        if BANNED_NAMES & {part.strip("_"), words[-1]} or words[0] == "base":
            yield f"{part!r} says nothing about what is in it"
    for node in source.nodes:
        if not isinstance(node, ast.ClassDef) or node.name in GIVEN_CLASSES:
            continue
        if BANNED_CLASSES.search(node.name):
            yield f"line {node.lineno}: class {node.name} says nothing about what it is"


def docstring_first(source: Source) -> Iterator[str]:
    if not ast.get_docstring(source.tree):
        yield "no module docstring"


def names_its_exports(source: Source) -> Iterator[str]:
    private = source.path.stem.startswith("_") and source.path.stem != "__init__"
    if private or not source.module:
        return
    assigned: list[ast.expr] = []
    for node in source.tree.body:
        if isinstance(node, ast.Assign):
            assigned += node.targets
        elif isinstance(node, ast.AnnAssign):
            assigned.append(node.target)
    if any(isinstance(target, ast.Name) and target.id == "__all__" for target in assigned):
        return
    yield "no __all__"


def imported_by_one_name(source: Source) -> Iterator[str]:
    for node in source.nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            if name.partition(".")[0] in FOLDERS | {"src"}:
                line = getattr(node, "lineno", 0)
                yield f"line {line}: import callboard.{name}: bare, its classes exist twice"


def inside_relative_across_absolute(source: Source) -> Iterator[str]:
    if not source.module:
        return
    folder = source.path.parts[0]
    depth = len(source.path.parts) - 1
    for node in source.nodes:
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level > depth:
            yield f"line {node.lineno}: across folders import absolutely (callboard.…)"
        if node.level == 0 and f"{node.module}.".startswith(f"callboard.{folder}."):
            yield f"line {node.lineno}: inside {folder}/ import relatively"


def finished(source: Source) -> Iterator[str]:
    if not UNFINISHED.search(source.text):
        return
    if source.path.suffix == ".py":
        tokens = tokenize.generate_tokens(io.StringIO(source.text).readline)
        notes = [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]
    else:
        notes = list(enumerate(source.text.splitlines(), start=1))
    for line, note in notes:
        if UNFINISHED.search(note):
            yield f"line {line}: unfinished: {note.strip()}"


def of_no_machine(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), start=1):
        found = MACHINE.search(line.replace(RAY_SESSIONS, ""))
        if found:
            yield f"line {number}: {found.group()!r} belongs to one machine"


def waits_for_events(source: Source) -> Iterator[str]:
    """No test sleeps; what a test lets run (an agent that hangs) may."""
    if not source.is_test:
        return
    for function in source.nodes:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            if not function.name.startswith("test_"):
                continue
            for line in _sleeps(function.body):
                yield f"line {line}: {function.name} sleeps; wait for what it waits for"


def _sleeps(body: list[ast.stmt]) -> Iterator[int]:
    """The lines that sleep for some time, without the functions defined in `body`."""
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        pending.extend(ast.iter_child_nodes(node))
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        only_yields = [getattr(argument, "value", None) for argument in node.args] == [0]
        if name == "sleep" and not only_yields:
            yield node.lineno


PYTHON_RULES: Final[tuple[Rule, ...]] = (
    short_files,
    short_functions,
    clear_names,
    docstring_first,
    names_its_exports,
    imported_by_one_name,
    inside_relative_across_absolute,
    waits_for_events,
)
TEXT_RULES: Final[tuple[Rule, ...]] = (finished, of_no_machine)


def imported_modules(source: Source) -> set[str]:
    """Every dotted name that `source` may import, lazily by its name included."""
    inside = source.module.split(".") if source.module else []
    if source.path.stem != "__init__":
        inside = inside[:-1]
    found: set[str] = set()
    for node in source.nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = inside[: len(inside) - node.level + 1] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            found.update({start}, {f"{start}.{alias.name}" for alias in node.names})
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]
            if re.fullmatch(r"callboard(\.\w+)+", name):
                found.add(name)
    return found


def dead_modules(sources: list[Source], entry_points: set[str]) -> list[str]:
    """The package's modules that nothing imports; what only tests import is dead as well."""
    alive = set(entry_points)
    for source in sources:
        if not source.is_test:
            alive |= imported_modules(source) - {source.module}
    return sorted(
        str(source.path)
        for source in sources
        if source.module
        and source.path.stem not in {"__init__", "__main__"}
        and source.module not in alive
    )


# --- the repository -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources(root: Path, repository_files: list[Path]) -> list[Source]:
    files = [file for file in repository_files if not (root / file).is_symlink()]
    texts = [
        file
        for file in files
        if file.suffix in TEXTS
        and file != LICENCE
        and (file.suffix or not file.is_relative_to(DATA))
    ]
    return [Source(file, (root / file).read_text(encoding="utf-8")) for file in texts]


def report(breaches: list[str]) -> None:
    """Fail with the breaches alone: a traceback through this file helps nobody."""
    if breaches:
        pytest.fail("\n".join(breaches), pytrace=False)


def test_python_files_keep_every_rule(sources: list[Source]) -> None:
    python = [source for source in sources if source.path.suffix == ".py"]
    assert len(python) > 10
    breaches: list[str] = []
    for source in python:
        parsed = replace(source)  # Its syntax tree goes with it.
        for rule in PYTHON_RULES:
            found = [f"{source.path}: {breach}" for breach in rule(parsed)]
            breaches += [f"{breach} ({rule.__name__})" for breach in found]
    report(breaches)


@pytest.mark.parametrize("rule", TEXT_RULES, ids=lambda rule: rule.__name__)
def test_text_files_are(rule: Rule, sources: list[Source]) -> None:
    texts = [source for source in sources if source.path != THIS_FILE]
    breaches = [f"{source.path}: {breach}" for source in texts for breach in rule(source)]
    report(breaches)


def test_no_module_is_dead(sources: list[Source], root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["scripts"], *project.get("entry-points", {}).values()]
    targets = [target for group in groups for target in group.values()]
    entry_points = {target.partition(":")[0] for target in targets}
    python = [source for source in sources if source.path.suffix == ".py"]
    report([f"{path}: nothing imports it" for path in dead_modules(python, entry_points)])


# --- the rules would notice -----------------------------------------------------------------------

LONG_FUNCTION: Final = "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX
CASES: Final = [
    (short_files, "actors/a.py", "x = 1\n" * (FILE_LINES_MAX + 1)),
    (short_functions, "actors/a.py", LONG_FUNCTION),
    (clear_names, "runtime/utils.py", ""),
    (clear_names, "runtime/string_helpers.py", ""),
    (clear_names, "actors/base_actor.py", ""),
    (clear_names, "runtime/common/files.py", ""),
    (clear_names, "actors/a.py", "class PoolManager: ...\n"),
    (clear_names, "actors/a.py", "class BaseActor: ...\n"),
    (docstring_first, "actors/a.py", "x = 1\n"),
    (names_its_exports, "actors/a.py", '"""A."""\n'),
    (names_its_exports, "actors/__init__.py", '"""A."""\n'),
    (imported_by_one_name, "tests/a.py", "import actors.cell\n"),
    (imported_by_one_name, "actors/a.py", "from messages import ref\n"),
    (imported_by_one_name, "bench/a.py", "import src.callboard\n"),
    (inside_relative_across_absolute, "actors/a.py", "from ..messages import ref\n"),
    (inside_relative_across_absolute, "actors/x/a.py", "from ...messages import ref\n"),
    (inside_relative_across_absolute, "actors/a.py", "from callboard.actors.b import B\n"),
    (inside_relative_across_absolute, "actors/a.py", "from callboard.actors import b\n"),
    (waits_for_events, "tests/a.py", "def test_a():\n    time.sleep(1)\n"),
    (waits_for_events, "tests/a.py", "async def test_a():\n    await sleep(0.1)\n"),
    (finished, "actors/a.py", "x = 1  # TODO: more\n"),
    (finished, "docs/a.md", "FIXME\n"),
    (of_no_machine, "docs/a.md", "see /home/me/file\n"),
    (of_no_machine, "bench/a.py", 'OUT = "/tmp/out"\n'),
    (of_no_machine, "Makefile", "pip install --index-url https://example.org x\n"),
]


@pytest.mark.parametrize(("rule", "path", "text"), CASES)
def test_a_breach_is_noticed(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(Path(path), text)))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (names_its_exports, "actors/_private.py", '"""A."""\n'),
        (names_its_exports, "tests/test_a.py", '"""A."""\n'),
        (names_its_exports, "actors/a.py", '"""A."""\n\n__all__: list[str] = []\n'),
        (imported_by_one_name, "actors/a.py", "from .messages import x\n"),
        (inside_relative_across_absolute, "actors/x/a.py", "from ..cell import Cell\n"),
        (inside_relative_across_absolute, "actors/a.py", "from callboard.messages import ref\n"),
        (waits_for_events, "tests/a.py", "async def test_a():\n    await sleep(0)\n"),
        (
            waits_for_events,
            "tests/a.py",
            "def test_a():\n    async def hang():\n        await sleep(99)\n",
        ),
        (finished, "examples/a.py", 'WORDS = ["TODO"]\n'),
        (of_no_machine, "docs/a.md", "Ray writes to /tmp/ray, logs are in src/work/x\n"),
        (clear_names, "messages/jobs/commands.py", "class Database: ...\n"),
    ],
)
def test_what_is_allowed_passes(rule: Rule, path: str, text: str) -> None:
    assert not list(rule(Source(Path(path), text)))


def test_dead_modules_are_found_among_living_ones() -> None:
    sources = [
        Source(Path("actors/cell.py"), "from .dispatch import d\n"),
        Source(Path("actors/dispatch.py"), ""),
        Source(Path("actors/forgotten.py"), "import callboard.actors.forgotten\n"),
        Source(Path("actors/pool/core.py"), "from .. import cell\n"),
        Source(Path("actors/pool/actor.py"), "from .core import x\n"),
        Source(Path("runtime/lazy.py"), ""),
        Source(Path("runtime/main.py"), 'LAZY = "callboard.runtime.lazy:thing"\n'),
        Source(Path("tests/test_a.py"), "import callboard.actors.forgotten\n"),
        Source(Path("bench/a.py"), "from callboard.actors.pool import actor\n"),
    ]
    assert dead_modules(sources, {"callboard.runtime.main"}) == ["actors/forgotten.py"]
