"""One running system per engine for the whole contract suite; faults get their own."""

from collections.abc import AsyncIterator
from typing import Any

import cloudpickle
import pytest
import pytest_asyncio

from callboard.messages.core.ref import Ref
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System

from . import engine_fixtures as company
from . import fixture_actors as cast


@pytest.fixture(scope="session", autouse=True)
def by_value() -> None:
    """The cast travels by value, as the classes of a driver script do."""
    for module in (cast, company):
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
async def witness(system: System) -> AsyncIterator[Ref[Any]]:
    """An actor that is told of events; it lives on the first host."""
    ref = await system.spawn(cast.Witness, host=1)
    yield ref
    await system.stop(ref)
