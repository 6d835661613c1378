"""The pytest plugin: one test over many seeds.

    @pytest.mark.callboard_seeds(300)
    def test_no_money_is_lost(callboard_seed: int) -> None:
        world = World(seed=callboard_seed)
        ...

The test runs once for each seed from `first` on (0 by default). It stops at the first failing
seed and names it. `pytest --callboard-first-seed 17 --callboard-seeds 1` runs that seed alone.

This module imports nothing of Callboard: pytest loads it in every test run of the user.
"""

from typing import Any

import pytest

__all__ = ["pytest_addoption", "pytest_configure", "pytest_pyfunc_call", "pytest_report_header"]

MARKER = "callboard_seeds"
FIXTURE = "callboard_seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command line options for seeds."""
    group = parser.getgroup("callboard")
    group.addoption(
        "--callboard-seeds",
        type=int,
        default=None,
        help="The number of seeds, instead of the markers' counts.",
    )
    group.addoption("--callboard-first-seed", type=int, default=None, help="The first seed.")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", f"{MARKER}(count, first=0): run the test with `count` seeds")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Report seeds from the command line."""
    first = config.getoption("--callboard-first-seed")
    count = config.getoption("--callboard-seeds")
    if first is None and count is None:
        return None
    return f"callboard: {count or 'all'} seeds from {first or 0}"


@pytest.fixture(name=FIXTURE)
def callboard_seed() -> int:
    """The seed of this run of a test that is marked with `callboard_seeds`."""
    return 0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> bool | None:
    """Call a marked test once for each seed."""
    mark = pyfuncitem.get_closest_marker(MARKER)
    if mark is None or FIXTURE not in pyfuncitem.funcargs:
        return None
    for seed in _seeds(pyfuncitem.config, *mark.args, **mark.kwargs):
        names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 - as pytest itself calls a test
        arguments = {name: pyfuncitem.funcargs[name] for name in names}
        arguments[FIXTURE] = seed
        try:
            pyfuncitem.obj(**arguments)
        except Exception as error:
            error.add_note(
                f"seed {seed}: pytest --callboard-first-seed {seed} --callboard-seeds 1 "
                f"{pyfuncitem.nodeid!r} runs it alone"
            )
            raise
    return True


def _seeds(config: pytest.Config, count: int = 100, first: int = 0) -> range:
    said_first = config.getoption("--callboard-first-seed")
    said_count = config.getoption("--callboard-seeds")
    begin = first if said_first is None else said_first
    return range(begin, begin + (count if said_count is None else said_count))
