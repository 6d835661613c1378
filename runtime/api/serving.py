"""The admin API of a system in a driver: which part of it answers which requests."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from callboard.actors.alerts.messages import ALERT_MANAGER
from callboard.messages.control.approvals import APPROVALS
from callboard.messages.core.contract import Request
from callboard.messages.core.ref import Ref

from ..admin.approvals import ApprovalRequests
from ..admin.commands import ExecutionCommands
from ..admin.extension import AdminExtension
from ..admin.journal import JournalQueries
from ..admin.port import Ask, Part
from ..admin.service import AdminService
from ..control_plane.control import Control
from ..executions.executions import Executions
from .spawner import DriverSpawner

__all__ = ["serve_admin"]

ReplyT = TypeVar("ReplyT")


def serve_admin(
    control: Control,
    executions: Executions,
    lookup: Callable[[str], Awaitable[Ref[Any]]],
    *,
    metrics: Ask,
    page: Ask,
) -> AdminService:
    """Make the service, which also answers in cell 0 of the driver from now on."""

    async def ask_alert_manager(request: Request[ReplyT]) -> ReplyT:
        return await (await lookup(ALERT_MANAGER)).ask(request)

    service = AdminService(
        queries=DriverSpawner(control).ask_root,
        commands=ExecutionCommands(executions, executions.resume, executions.submit_for).answer,
        journal=JournalQueries(executions, executions.snapshot).answer,
        alerts=ask_alert_manager,
        metrics=metrics,
        page=page,
    )
    approvals = ApprovalRequests(lambda: lookup(APPROVALS), service.ask, service.ask)
    service.serve(Part.APPROVALS, approvals.answer)
    control.host.extension(AdminExtension).service = service
    return service
