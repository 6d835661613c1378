"""A subscription to invalidations that is closed in any moment."""

import asyncio
import contextlib
from typing import Any

import pytest

from callboard.runtime.cache import invalidations
from callboard.runtime.cache.invalidations import Subscription


class DeafListener:
    """Loses its first cancellation, as `asyncio.wait_for` of Python 3.11 may inside the client."""

    def __init__(self) -> None:
        self.subscribes = asyncio.Event()

    def pubsub(self) -> "DeafListener":
        return self

    async def subscribe(self, channel: str) -> None:
        self.subscribes.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def get_message(self, timeout: float) -> Any:  # noqa: ASYNC109 - the client's own
        await asyncio.Event().wait()

    async def aclose(self, **_: Any) -> None:
        """Nothing to close."""


async def test_a_cancellation_that_the_client_loses_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listener = DeafListener()
    monkeypatch.setattr(invalidations, "connect", lambda *_, **__: listener)
    subscription = Subscription(
        "redis://unused",
        "channel",
        ping_s=60.0,
        on_message=lambda _: None,
        on_gap=lambda: None,
        clock=asyncio.get_running_loop().time,
        chance=lambda: 0.5,
    )
    subscription.start()
    await listener.subscribes.wait()
    async with asyncio.timeout(10.0):
        await subscription.close()
