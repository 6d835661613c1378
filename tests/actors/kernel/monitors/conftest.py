"""A system of three hosts in this process."""

from collections.abc import AsyncIterator

import pytest_asyncio

from callboard.runtime.api.start import start
from callboard.runtime.api.system import System


@pytest_asyncio.fixture
async def system() -> AsyncIterator[System]:
    """A system that a test may break."""
    async with start(engine="inline", hosts=3, name="party") as running:
        yield running
