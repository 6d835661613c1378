"""Systems of their own for tests that break them, on one Ray."""

import logging
from collections.abc import Iterator

import cloudpickle
import pytest

from ..engines import engine_fixtures as fixtures
from ..engines import fixture_actors as actors


@pytest.fixture(scope="session", autouse=True)
def by_value() -> None:
    """Pickle the fixture classes by value, like the classes of a driver script."""
    for module in (actors, fixtures):
        cloudpickle.register_pickle_by_value(module)


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """One Ray for all systems; a system that finds it does not shut it down."""
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(
        address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False
    )
    yield
    ray.shutdown()
