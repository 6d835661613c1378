"""How a handler waits for a person: it asks the approvals again until there is an answer.

Each request waits for an answer for a second only. So the approvals stop without delay, and they,
their host and their store may be away meanwhile. The same question has the same id: nobody is
asked twice.
"""

import asyncio
import hashlib
from collections.abc import Awaitable
from typing import Any, Final, Protocol, TypeVar

from callboard.messages.control.approvals import APPROVALS, Approval, AskApproval
from callboard.messages.control.spec import Backoff
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import (
    ActorNotFound,
    AskError,
    Cancelled,
    CircularAsk,
    DeadlineExceeded,
    HandlerFailed,
)
from callboard.messages.core.ref import Ref

__all__ = ["approval_id", "wait_for_approval"]

ReplyT = TypeVar("ReplyT")
WAIT_S: Final = 1.0
ANSWER_S: Final = 15.0
"""How much longer than it may wait a reply may take."""
GRACE_S: Final = 120.0
"""For how long after the deadline approvals that do not answer are asked again."""
RETRY: Final = Backoff(min_s=0.1, max_s=5.0, jitter=0.0)
ID_CHARS: Final = 20


class Asks(Protocol):
    """What the wait needs of a `Context`."""

    def ask(
        self,
        request: Request[ReplyT],
        to: Ref[Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Awaitable[ReplyT]:
        """See `Context.ask`."""

    async def lookup(self, name: str, *, timeout_s: float | None = None) -> Ref[Any]:
        """See `Context.lookup`."""


def approval_id(*parts: str) -> str:
    """The id of the question that these texts identify; 80 bits of their SHA-256."""
    text = "\0".join(parts).encode(errors="surrogatepass")
    return hashlib.sha256(text).hexdigest()[:ID_CHARS]


async def wait_for_approval(ctx: Asks, request: AskApproval) -> Approval:
    """The answer. Raises what refuses the question, and `DeadlineExceeded` without a manager."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + request.deadline_s + GRACE_S
    request = request.model_copy(update={"wait_s": min(WAIT_S, request.deadline_s)})
    tries = 0
    while True:
        try:
            manager = await ctx.lookup(APPROVALS)
            answer = await ctx.ask(request, manager, timeout_s=request.wait_s + ANSWER_S)
            if not answer.is_open:
                return answer
            tries = 0
        except ActorNotFound as error:
            raise ActorNotFound(
                "nobody keeps the approvals of this system.",
                advice="Start the system with `start_approvals(system)`.",
            ) from error
        except (Cancelled, CircularAsk, HandlerFailed):
            raise
        except AskError as error:
            # Its host, its store or the path to it is away.
            if loop.time() >= until_s:
                raise DeadlineExceeded(
                    f"no answer came to the question {request.subject!r}: {error.message}",
                    advice="See why the actor `callboard.approvals` does not answer.",
                ) from error
        tries += 1
        await asyncio.sleep(RETRY.delay_s(tries, 0.0))
