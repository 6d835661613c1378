"""What an outbox does when a large value cannot be stored: an error to the asker, never more."""

from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from callboard.actors.kernel.actor import Agent, handler
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import PayloadLost
from callboard.runtime.api.start import start
from callboard.runtime.engines.inline import InlineLargeValues

LARGE_BYTES = 200_000


class Blob(Contract):
    data: bytes


class Fetch(Request[Blob]):
    size_bytes: int
    ballast: bytes = b""


class Store(Agent):
    @handler
    async def fetch(self, request: Fetch) -> Blob:
        return Blob(data=b"x" * request.size_bytes)


def full(large_values: InlineLargeValues, body: bytes, buffers: Sequence[Any]) -> Any:
    raise OSError("no space left")


async def failing(ask: Awaitable[Blob]) -> PayloadLost:
    with pytest.raises(PayloadLost, match=r"could not be stored.*no space left") as caught:
        await ask
    return caught.value


async def test_full_store_fails_the_ask_or_its_reply_and_the_link_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with start(engine="inline", hosts=1, standbys=0) as system:
        ref = await system.spawn(Store)
        assert len((await ref.ask(Fetch(size_bytes=LARGE_BYTES))).data) == LARGE_BYTES
        monkeypatch.setattr(InlineLargeValues, "put", full)
        refused = await failing(ref.ask(Fetch(size_bytes=1, ballast=b"x" * LARGE_BYTES)))
        assert not refused.may_have_run
        await failing(ref.ask(Fetch(size_bytes=LARGE_BYTES), timeout_s=5.0))
        assert (await ref.ask(Fetch(size_bytes=1))).data == b"x"
