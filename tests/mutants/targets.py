"""What is changed, and which tests have to find it: the tests of a module, then seeds.

A module's own tests come first, as `tests/` mirrors the folders; the table has what comes after
them, and the simulator's scenarios for what survives all of it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

__all__ = ["TARGETS", "Target", "checks_of", "files_of", "target_of"]


@final
@dataclass(frozen=True, slots=True)
class Target:
    """A kind of modules, and what tests them."""

    files: tuple[str, ...]
    """Patterns of the modules."""
    tests: tuple[str, ...]
    """Files and folders, or patterns of them, in the order in which they are passed."""
    seeds: Mapping[str, int]
    """How many seeds of which scenario; a hundred together."""
    select: str = ""
    """The tests of these files that count, as for pytest's `-k`."""

    @property
    def name(self) -> str:
        """The first pattern: each module has one target."""
        return self.files[0]


_ENGINES: Final = "tests/runtime/engines"
_KERNEL: Final = "tests/actors/kernel"
_STORES: Final = "tests/runtime/stores"
_CONTRACTS: Final = (
    f"{_STORES}/test_event_*.py",
    f"{_STORES}/test_state_contract.py",
    f"{_STORES}/test_read_model_contract.py",
)

TARGETS: Final = (
    Target(
        ("supervisors/**/*.py",),
        ("tests/supervisors", "tests/actors/trees"),
        {"supervision": 60, "mixed": 20, "failover": 20},
    ),
    Target(
        ("actors/kernel/link/*.py",),
        (
            f"{_KERNEL}/link",
            f"{_ENGINES}/test_messages.py",
            f"{_ENGINES}/test_frames.py",
            f"{_ENGINES}/test_deadlines.py",
            f"{_ENGINES}/test_flow.py",
        ),
        {"links": 50, "failover": 20, "keyed": 20, "mixed": 10},
        "not flood",
    ),
    Target(
        ("actors/kernel/cell.py", "actors/kernel/dispatcher.py"),
        (
            f"{_KERNEL}/test_*.py",
            f"{_KERNEL}/host",
            f"{_ENGINES}/test_lifecycle.py",
            f"{_ENGINES}/test_messages.py",
            f"{_ENGINES}/test_deadlines.py",
        ),
        {"links": 30, "supervision": 20, "failover": 20, "mixed": 30},
    ),
    Target(
        ("actors/kernel/monitors/core.py",),
        (f"{_KERNEL}/monitors",),
        {"watch": 80, "mixed": 20},
    ),
    Target(
        tuple(
            f"actors/pipelines/{name}.py"
            for name in (
                *("core", "accounts", "built", "schemas"),
                *("running/commits", "running/stored"),
            )
        ),
        ("tests/actors/pipelines/test_*.py", "tests/actors/pipelines/running/test_*.py"),
        {"pipelines": 100},
    ),
    Target(
        ("actors/scheduler/*.py",),
        ("tests/actors/scheduler", "tests/actors/executions"),
        {"execution": 70, "durable": 30},
    ),
    Target(
        ("actors/executions/history/fold.py",),
        (
            "tests/actors/executions/test_fold.py",
            "tests/actors/executions/test_history.py",
            "tests/actors/executions/test_snapshots.py",
            "tests/runtime/executions",
        ),
        {"durable": 80, "detached": 20},
    ),
    Target(("actors/journal/core.py",), ("tests/actors/journal",), {"durable": 100}),
    Target(
        ("actors/keyed/core.py",),
        ("tests/actors/keyed", f"{_ENGINES}/test_keyed.py"),
        {"keyed": 100},
    ),
    Target(
        ("actors/events/consumers/core.py",),
        ("tests/actors/events/test_consumers.py", "tests/actors/events/test_consumer_group.py"),
        {"durable": 100},
    ),
    Target(
        ("actors/events/subscription/core.py",),
        (
            "tests/actors/events/test_subscription.py",
            "tests/actors/events/test_consumer_group.py",
            "tests/actors/events/test_projection.py",
        ),
        {"durable": 100},
    ),
    Target(("actors/state/core.py",), ("tests/actors/state",), {"durable": 100}),
    Target(
        ("runtime/executions/service/core.py",),
        ("tests/runtime/executions/service",),
        {"detached": 100},
    ),
    Target(
        ("runtime/stores/sqlite/group.py", "runtime/stores/sqlite/events.py"),
        (
            *_CONTRACTS,
            f"{_STORES}/test_sqlite_faults.py",
            f"{_STORES}/test_sqlite_open.py",
            f"{_STORES}/test_sqlite_tail.py",
            f"{_STORES}/test_sqlite_shared.py",
            f"{_STORES}/test_full_disk.py",
            f"{_STORES}/test_sqlite_torn.py",
        ),
        {"durable": 100},
        "sqlite or full_disk",
    ),
    Target(("runtime/stores/memory.py",), _CONTRACTS, {"durable": 100}, "memory"),
    Target(
        ("runtime/stores/postgres/core.py", "runtime/stores/postgres/events.py"),
        (
            f"{_STORES}/postgres/test_tables.py",
            f"{_STORES}/postgres/test_queries.py",
            f"{_STORES}/test_event_*.py",
            f"{_STORES}/postgres/test_connections.py",
        ),
        {"durable": 100},
        "postgres",
    ),
    Target(("actors/**/core.py", "messages/**/core.py", "runtime/**/core.py"), (), {"mixed": 100}),
)
"""The first that knows a module is the module's; the last one takes a `core.py` that is new."""
LEFT_OUT: Final = frozenset({"__init__.py", "invariants.py"})
"""Files that decide nothing: exports, and what tests assert of the scheduler."""


def files_of(root: Path) -> list[str]:
    """The modules that are changed."""
    found = {
        path.relative_to(root).as_posix()
        for target in TARGETS
        for pattern in target.files
        for path in root.glob(pattern)
        if path.name not in LEFT_OUT
    }
    return sorted(found)


def target_of(file: str) -> Target:
    """The target that knows a module."""
    return next(target for target in TARGETS for pattern in target.files if _matches(file, pattern))


def checks_of(root: Path, target: Target) -> list[str]:
    """The test files of a target's modules: their own, and then those that the target names."""
    names: list[str] = []
    for file in files_of(root):
        if target_of(file) is target:
            module = Path("tests", file)
            names += [module.with_name(f"test_{module.name}").as_posix()]
            names += () if target.tests else [module.parent.as_posix()]
    paths = (path for name in (*names, *target.tests) for path in _files_under(root, name))
    return list(dict.fromkeys(paths))


def _matches(file: str, pattern: str) -> bool:
    parts = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(parts, file) is not None


def _files_under(root: Path, name: str) -> Iterator[str]:
    for path in sorted(root.glob(name)):
        for found in sorted(path.rglob("test_*.py")) if path.is_dir() else (path,):
            yield found.relative_to(root).as_posix()
