"""A world for each test, closed at its end."""

from collections.abc import AsyncIterator

import pytest

from tests.actors.executions.execution_fixture import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A driver, and one host with a pool of four."""
    made = World()
    await made.add_pool(1, 4)
    yield made
    await made.close()


@pytest.fixture
async def empty_world() -> AsyncIterator[World]:
    """A driver alone."""
    made = World()
    yield made
    await made.close()
