"""The public names: each has one topic, is documented in its home, and costs nothing until used."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import callboard

ROOT: Final = Path(__file__).resolve().parents[2]
TOP_MAX: Final = 30
PLAIN: Final = frozenset({"__version__"})
UNDOCUMENTED: Final = frozenset(
    {"ANY", "LEFT_OUT", "NO_FAULTS", "NO_STREAM", "Array", "ExecutionUpdate", "Fault", "OnConflict"}
)
"""Constants and typing aliases: what they mean stands where they are defined."""
NAMES: Final = sorted(set(callboard.__all__) - PLAIN)
BY_TOPIC: Final = {
    topic: list(importlib.import_module(f"callboard.{topic}").__all__) for topic in callboard.TOPICS
}
EVERY: Final = sorted({("", name) for name in NAMES}) + [
    (topic, name) for topic, names in BY_TOPIC.items() for name in names
]
FENCE: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INTERNAL: Final = re.compile(r"callboard\.(runtime|actors|messages|supervisors)\b")
PAGES: Final = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLES: Final = sorted((ROOT / "examples").rglob("*.py"))
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
        if isinstance(node, ast.ImportFrom) and (node.module is None or "." in node.module):
            names = {alias.name for alias in node.names}
            found.setdefault(node.module or "", set()).update(names)
    return found


def imports_in(source: str) -> Iterator[tuple[str, str]]:
    """The modules of Callboard that a text of Python imports, each with a name (or "")."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.module or "", alias.name) for alias in node.names)


def test_importing_the_package_is_free() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_using_it_without_a_cluster_does_not_import_ray() -> None:
    code = "import sys, callboard\nfor name in callboard.__all__: getattr(callboard, name)\n"
    code += "for name in callboard.TOPICS: getattr(callboard, name)\n"
    code += "assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_type_checkers_and_programs_find_the_same_names_in_the_same_places() -> None:
    homes = {home: set(names) for home, names in callboard._HOMES.items()}
    assert type_checked_imports() == homes | {"": set(callboard.TOPICS)}
    every = [name for names in homes.values() for name in names]
    assert sorted(every) == NAMES, "__all__ and the homes differ, or a name has two homes"


def test_a_beginner_sees_few_names() -> None:
    assert len(callboard.__all__) <= TOP_MAX


def test_each_module_of_the_package_is_a_topic() -> None:
    files = (ROOT / "src" / "callboard").glob("*.py")
    assert {path.stem for path in files} - {"__init__"} == set(callboard.TOPICS)
    assert sorted(callboard.TOPICS) == list(callboard.TOPICS)


def test_each_name_is_in_one_topic() -> None:
    counts = Counter(name for names in BY_TOPIC.values() for name in names)
    assert [name for name, count in counts.items() if count > 1] == []
    for topic, names in BY_TOPIC.items():
        module = importlib.import_module(f"callboard.{topic}")
        assert module.__doc__
        for name in set(names) & set(NAMES):
            assert getattr(module, name) is getattr(callboard, name), "the top has the same one"


@pytest.mark.parametrize(("topic", "name"), EVERY)
def test_each_name_is_public_and_documented_in_its_home(topic: str, name: str) -> None:
    module = importlib.import_module(f"callboard.{topic}") if topic else callboard
    value: Any = getattr(module, name)
    if name in UNDOCUMENTED or not hasattr(value, "__module__"):
        return
    assert inspect.getdoc(value), "no docstring"
    home = importlib.import_module(value.__module__)
    assert getattr(home, name) is value
    assert name in home.__all__


def test_every_error_has_one_base() -> None:
    for name in BY_TOPIC["errors"]:
        found = getattr(callboard.errors, name)
        if isinstance(found, type):
            assert issubclass(found, callboard.CallboardError)


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=lambda path: str(path.relative_to(ROOT)))
def test_docs_and_examples_need_public_names_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not INTERNAL.findall(text)
    sources = [text] if path.suffix == ".py" else FENCE.findall(text)
    public = {"callboard": {*callboard.__all__, *callboard.TOPICS}} | {
        f"callboard.{topic}": set(names) for topic, names in BY_TOPIC.items()
    }
    for source in sources:
        for module, name in imports_in(source):
            if module.split(".")[0] == "callboard":
                assert module in public
                assert not name or name in public[module], f"{module}.{name} is not public"


def test_a_misspelt_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Agnet"):
        _ = callboard.Agnet  # type: ignore[attr-defined]


def test_names_are_listed_before_they_are_used() -> None:
    code = "import callboard; assert {*callboard.__all__, *callboard.TOPICS} <= set(dir(callboard))"
    subprocess.run([sys.executable, "-c", code], check=True)
