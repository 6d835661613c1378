"""One running system per engine for the whole contract suite; faults get their own."""

from collections.abc import AsyncIterator
from typing import Any

import cloudpickle
import pytest
import pytest_asyncio

from callboard.messages.core.ref import Ref
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System

from . import engine_fixtures as fixtures
from . import fixture_actors as actors
from . import isolation_actors, stream_actors


@pytest.fixture(scope="session", autouse=True)
def by_value() -> None:
    """Pickle the fixture classes by value, like the classes of a driver script."""
    for module in (actors, fixtures, isolation_actors, stream_actors):
        cloudpickle.register_pickle_by_value(module)


ENGINES = [
    pytest.param("inline", id="inline"),
    pytest.param("ray", id="ray", marks=pytest.mark.ray),
]


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=ENGINES)
async def system(request: pytest.FixtureRequest) -> AsyncIterator[System]:
    """Two hosts of each engine in turn."""
    async with start(engine=request.param, hosts=2, name="contract") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def recorder(system: System) -> AsyncIterator[Ref[Any]]:
    """An actor on the first host that records events."""
    ref = await system.spawn(actors.EventRecorder, host=1)
    yield ref
    await system.stop(ref)
