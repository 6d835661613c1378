"""The one service behind all adapters of the admin API, in each process that answers requests."""

import asyncio
import logging
from typing import Any, Final

from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import (
    CallboardError,
    DeadlineExceeded,
    InternalError,
    UsageError,
)

from .port import COMMANDS, METRICS, Ask, Caller
from .wire import decode_request, encode_error, encode_reply

__all__ = ["AdminService"]

LOGGER: Final = logging.getLogger("callboard.admin")
ANSWER_TIMEOUT_S: Final = 20.0
"""The limit for one request. A query waits 2 s for each host."""


class AdminService:
    """Answers the requests of one process.

    `queries` asks the control plane of the system, `commands` the executions of this process,
    `metrics` the windows of its system. A process without one of them leaves it out, and refuses
    such requests.
    """

    def __init__(
        self,
        *,
        queries: Ask | None = None,
        commands: Ask | None = None,
        metrics: Ask | None = None,
    ) -> None:
        self._queries = queries
        self._commands = commands
        self._metrics = metrics

    async def handle(self, request: Request[Any], caller: Caller) -> Contract:
        """The reply to a request. Raises `UsageError` and other errors of Callboard."""
        if isinstance(request, COMMANDS):
            LOGGER.info("%s from %s", request.contract_name, caller)
            if self._commands is None:
                raise UsageError(
                    "this process runs no executions.",
                    advice="A detached system runs them in its execution service.",
                )
            reply: Contract = await self._commands(request)
            return reply
        if isinstance(request, METRICS):
            if self._metrics is None:
                raise UsageError(
                    "this process reads no metrics.", advice="Read their store: --store URL."
                )
            answer: Contract = await self._metrics(request)
            return answer
        if self._queries is None:
            raise UsageError(
                "this process only runs executions of a detached system.",
                advice="Query the system by --address.",
            )
        seen: Contract = await self._queries(request)
        return seen

    async def answer(self, line: bytes, caller: Caller) -> bytes:
        """The line of the reply to a line. Every error is a reply too."""
        try:
            request = decode_request(line)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reply = await self.handle(request, caller)
            return encode_reply(reply)
        except CallboardError as error:
            return encode_error(error)
        except TimeoutError:
            return encode_error(DeadlineExceeded("no answer came in time."))
        except Exception as error:
            LOGGER.exception("a request of the admin API failed")
            return encode_error(InternalError(f"the request failed: {error!r}"))
