"""The one service behind all adapters of the admin API, in each process that answers requests."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from callboard.messages.control.principals import Principal, Scope
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import (
    CallboardError,
    DeadlineExceeded,
    InternalError,
)
from callboard.messages.storage.incoming import Act

from .acts import RecordAct, about
from .errors import AccessDenied, NotServed
from .port import SERVED, Ask, Caller, Part
from .wire import decode_request, encode_error, encode_reply

__all__ = ["AdminService"]

LOGGER: Final = logging.getLogger("callboard.admin")
ANSWER_TIMEOUT_S: Final = 20.0
"""The limit for one request. A query waits 2 s for each host."""
MISSING: Final[Mapping[Part, tuple[str, str]]] = {
    Part.QUERIES: (
        "this process only runs executions of a detached system.",
        "Query the system by --address.",
    ),
    Part.COMMANDS: (
        "this process runs no executions.",
        "A detached system runs them in its execution service.",
    ),
    Part.JOURNAL: (
        "this process writes no journal.",
        "A detached system does that in its execution service.",
    ),
    Part.METRICS: ("this process reads no metrics.", "Read their store: --store URL."),
    Part.ALERTS: (
        "this process does not reach an alert manager.",
        "Name the store of the alerts: --store.",
    ),
    Part.APPROVALS: (
        "this process only runs executions of a detached system.",
        "Query the system by --address.",
    ),
    Part.PIPELINES: (
        "this process does not know the stores of pipelines.",
        (
            "Name them: `callboard up --pipelines URL`, `UiSettings(pipelines=...)`, or "
            "`System.show_pipelines`."
        ),
    ),
    Part.PAGE: (
        "this process does not start the page of a system.",
        "Use `callboard ui NAME`.",
    ),
}
"""What a process says that does not have a part, and what to do."""
ACTORS: Final = ("by", "author")
ASKER: Final = "asker"
"""The fields of commands that say who acts: its name, or all of it. The caller does not choose."""


class AdminService:
    """Answers the requests of one process.

    `queries` asks the control plane of the system, `commands` the executions of this process,
    `journal` their journal, `metrics` the windows of its system, `alerts` its alert manager,
    `pipelines` the stores of pipelines, `page` its hubs, and `approvals` what persons decide. A
    process without one of them leaves it out, and refuses such requests.
    """

    def __init__(
        self,
        *,
        queries: Ask | None = None,
        commands: Ask | None = None,
        journal: Ask | None = None,
        metrics: Ask | None = None,
        alerts: Ask | None = None,
        pipelines: Ask | None = None,
        page: Ask | None = None,
        approvals: Ask | None = None,
    ) -> None:
        self._parts: Final[dict[Part, Ask | None]] = {
            Part.QUERIES: queries,
            Part.COMMANDS: commands,
            Part.JOURNAL: journal,
            Part.METRICS: metrics,
            Part.ALERTS: alerts,
            Part.PIPELINES: pipelines,
            Part.PAGE: page,
            Part.APPROVALS: approvals,
        }

    def serve(self, part: Part, ask: Ask) -> None:
        """Answer the requests of a part from now on, also in place of the one before."""
        self._parts[part] = ask

    async def handle(self, request: Request[Any], caller: Caller) -> Contract:
        """The reply to a request.

        An act is in the journal, with its principal, before anything is done: one that cannot be
        recorded is refused. Raises `AccessDenied`, `NotServed` and other errors of Callboard.
        """
        scope = SERVED[type(request)].scope
        principal = caller.principal
        if scope is None:
            raise AccessDenied(f"only the system itself sends {request.contract_name}.")
        if not principal.may(scope):
            raise AccessDenied(
                f"{principal.subject} may not send {request.contract_name}.",
                advice=f"It needs the scope {scope}: `callboard token create --scope {scope}`.",
                scope=str(scope),
            )
        if scope is Scope.READ:
            return await self._perform(request)
        if self._parts[SERVED[type(request)].part] is not None:
            # The principal knows the way that it came in; the caller may be a process between.
            who = principal.model_copy(update={"way": principal.way or caller.way})
            await self.record(request.contract_name, who, about(request))
        fields = type(request).model_fields
        by: dict[str, Any] = {name: principal.subject for name in ACTORS if name in fields}
        if ASKER in fields:
            by[ASKER] = principal
        return await self._perform(request.model_copy(update=by) if by else request)

    async def record(self, act: str, principal: Principal, about: Mapping[str, Any]) -> None:
        """Write down who acts, durably where the system keeps a journal.

        Raises what the journal raises.
        """
        LOGGER.info("%s from %s by %s", act, principal.subject, principal.way)
        if self._parts[Part.JOURNAL] is None:
            return
        record = Act(
            act=act,
            subject=principal.subject,
            way=principal.way,
            token=principal.token,
            at=time.time(),
            about=dict(about),
        )
        with contextlib.suppress(NotServed):
            await self._perform(RecordAct(record=record))

    async def ask(self, request: Request[Any]) -> Any:
        """The reply to a request of this process itself, which no caller has to be allowed."""
        return await self._perform(request)

    async def _perform(self, request: Request[Any]) -> Contract:
        part = SERVED[type(request)].part
        ask = self._parts[part]
        if ask is None:
            text, advice = MISSING[part]
            raise NotServed(text, advice=advice, part=str(part))
        reply: Contract = await ask(request)
        return reply

    async def answer(self, line: bytes, caller: Caller | None) -> bytes:
        """The line of the reply to a line. Every error is a reply too.

        Without a caller, another process of the system has checked the request.
        """
        try:
            request = decode_request(line)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if caller is None:
                    reply = await self._perform(request)
                else:
                    reply = await self.handle(request, caller)
            return encode_reply(reply)
        except CallboardError as error:
            return encode_error(error)
        except TimeoutError:
            return encode_error(DeadlineExceeded("no answer came in time."))
        except Exception as error:
            LOGGER.exception("a request of the admin API failed")
            return encode_error(InternalError(f"the request failed: {error!r}"))
