"""An outbox with a full store for large values: the asker gets an error, the link stays up."""

from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from callboard.actors.kernel.actor import Agent, handler
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import PayloadLost
from callboard.runtime.api.start import start
from callboard.runtime.engines.inline import InlineLargeValues

LARGE_BYTES = 200_000


class LargeReply(Contract):
    data: bytes


class Fetch(Request[LargeReply]):
    size_bytes: int
    ballast: bytes = b""


class Store(Agent):
    @handler
    async def fetch(self, request: Fetch) -> LargeReply:
        return LargeReply(data=b"x" * request.size_bytes)


def full(large_values: InlineLargeValues, body: bytes, buffers: Sequence[Any]) -> Any:
    raise OSError("no space left")


async def failing(ask: Awaitable[LargeReply]) -> PayloadLost:
    with pytest.raises(PayloadLost, match=r"could not be stored.*no space left") as caught:
        await ask
    return caught.value


async def test_full_store_fails_the_ask_or_its_reply_and_the_link_stays_up(
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
