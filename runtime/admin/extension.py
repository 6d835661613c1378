"""The admin API inside a system: for processes that have no socket to it.

The stream hub runs in a process of its own and has neither executions nor a control plane. It asks
cell 0 of the control host (the driver, or the root of a detached system), whose address never
changes, also not when a detached root is replaced.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from callboard.actors.kernel.actor import handler
from callboard.actors.kernel.cell import Cell
from callboard.actors.kernel.host.extension import Extension
from callboard.actors.kernel.ports import RoleHost
from callboard.messages.control.control_plane import CONTROL_CELL, CONTROL_SLOT
from callboard.messages.control.principals import Principal
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.ref import Address, Ref

from .client import AdminClient
from .errors import NotServed
from .port import Caller
from .service import AdminService
from .wire import REPLY_TIMEOUT_S, encode_error

__all__ = [
    "ADMIN",
    "EXECUTION_SERVICE",
    "AdminAnswer",
    "AdminExtension",
    "AdminLine",
    "FindRef",
    "answer_line",
    "client_of",
]

ADMIN: Final = Address(CONTROL_SLOT, CONTROL_CELL)
"""Who answers `AdminLine` in every system."""

EXECUTION_SERVICE: Final = "callboard.execution-service"
"""The name of the actor that runs the executions of a detached system, and answers too."""


class AdminAnswer(Contract, name="callboard.admin.answer"):
    """The line of a reply."""

    line: bytes


class AdminLine(Request[AdminAnswer], name="callboard.admin.line"):
    """The line of a request, and who sends it."""

    line: bytes
    principal: Principal | None = None
    """None: another process of the system has checked the request, and named who acts."""


class AdminExtension(Extension):
    """Answers lines on a host that has a service; on others it refuses them."""

    def __init__(self, host: RoleHost[Cell]) -> None:
        self.service: AdminService | None = None
        """Who answers; set where the control plane or the driver begins."""

    @handler
    async def answer_admin(self, request: AdminLine) -> AdminAnswer:
        """Answer one line."""
        if self.service is None:
            error = NotServed("this host does not answer the admin API.", advice="Ask the root.")
            return AdminAnswer(line=encode_error(error))
        return await answer_line(self.service, request)


async def answer_line(service: AdminService, request: AdminLine) -> AdminAnswer:
    """The answer of a service to a message of another process of the system."""
    principal = request.principal
    caller = None if principal is None else Caller("actor", principal=principal)
    return AdminAnswer(line=await service.answer(request.line, caller))


FindRef = Callable[[], Awaitable[Ref[Any]]]
"""Finds the actor that answers. Raises `ActorNotFound`."""


def client_of(
    find: FindRef,
    principal: Principal | None,
    timeout_s: float = REPLY_TIMEOUT_S,
) -> AdminClient:
    """A client of the admin API over an actor that answers `AdminLine`, for one principal."""

    async def exchange(line: bytes) -> bytes:
        request = AdminLine(line=line, principal=principal)
        answer = await (await find()).ask(request, timeout_s=timeout_s)
        return answer.line

    return AdminClient(exchange, timeout_s + 1.0)
