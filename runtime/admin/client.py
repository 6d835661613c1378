"""The client of the admin API, the same for every carrier."""

import asyncio
from typing import TypeVar

from callboard.messages.core.contract import Request

from .port import Exchange
from .wire import decode_reply, encode_request

__all__ = ["AdminClient"]

ReplyT = TypeVar("ReplyT")


class AdminClient:
    """Sends requests to one service by `exchange`, and waits at most `timeout_s` for each reply."""

    def __init__(self, exchange: Exchange, timeout_s: float) -> None:
        self._exchange = exchange
        self._timeout_s = timeout_s

    async def ask(self, request: Request[ReplyT]) -> ReplyT:
        """The reply to a request. Raises the error that the service answers with.

        Raises `TimeoutError` or `OSError` without a reply, and `ValueError` for an invalid one.
        """
        return decode_reply(request, await self.exchange(encode_request(request)))

    async def exchange(self, line: bytes) -> bytes:
        """The line of the reply to the line of a request. Raises `TimeoutError` or `OSError`."""
        async with asyncio.timeout(self._timeout_s):
            return await self._exchange(line)
