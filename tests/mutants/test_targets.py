"""The table of modules and tests names what exists, and leaves no module out."""

from pathlib import Path

import pytest

from tests.simulation.scenarios import SCENARIOS

from .targets import TARGETS, Target, checks_of, files_of, target_of

REQUIRED = (
    "actors/kernel/cell.py",
    "actors/kernel/dispatcher.py",
    "actors/kernel/link/outbox.py",
    "actors/executions/history/fold.py",
    "runtime/stores/sqlite/group.py",
    "runtime/stores/postgres/events.py",
    "runtime/stores/memory.py",
    "supervisors/decisions.py",
)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_a_target_names_exists(target: Target, root: Path) -> None:
    assert all(any(root.glob(name)) for name in target.tests)
    assert all(any(root.glob(pattern)) for pattern in target.files if "messages/" not in pattern)
    assert sum(target.seeds.values()) == 100
    assert set(target.seeds) <= set(SCENARIOS)


def test_every_core_is_changed(root: Path) -> None:
    files = files_of(root)
    cores = [
        path.relative_to(root).as_posix()
        for folder in ("actors", "messages", "runtime", "supervisors")
        for path in (root / folder).rglob("core.py")
    ]
    assert set(cores) | set(REQUIRED) <= set(files)


def test_the_tests_of_a_module_come_first(root: Path) -> None:
    names = checks_of(root, target_of("actors/kernel/cell.py"))
    assert names[0] == "tests/actors/kernel/test_cell.py"
    assert len(set(names)) == len(names) > 5


def test_a_core_that_is_new_has_the_tests_of_its_folder(root: Path) -> None:
    target = target_of("actors/journal/new/core.py")
    assert target is TARGETS[-1]
    assert target_of("actors/journal/core.py").name == "actors/journal/core.py"


def test_every_module_has_tests(root: Path) -> None:
    assert all(checks_of(root, target_of(file)) for file in files_of(root))
