"""The admin API of a system that lives with its driver: which part of it answers what."""

from typing import Any, Protocol

from callboard.actors.alerts.messages import ALERT_MANAGER
from callboard.messages.control.approvals import APPROVALS
from callboard.messages.core.contract import Request
from callboard.messages.core.ref import Ref

from ..admin.approvals import ApprovalRequests
from ..admin.commands import ExecutionCommands
from ..admin.journal import JournalQueries
from ..admin.port import Part
from ..admin.service import AdminService
from ..control_plane.control import Control
from ..executions.executions import Executions
from .spawner import DriverSpawner

__all__ = ["admin_service"]


class Answers(Protocol):
    """What answers requests of the admin API: the metrics and the page of a `System`."""

    async def answer(self, request: Any) -> Any:
        """The reply."""


class Answering(Protocol):
    """What the admin API needs of a `System`."""

    @property
    def metrics(self) -> Answers:
        """See `System.metrics`."""

    @property
    def ui(self) -> Answers:
        """See `System.ui`."""

    async def lookup(self, name: str) -> Ref[Any]:
        """See `System.lookup`."""


def admin_service(system: Answering, control: Control, executions: Executions) -> AdminService:
    """The service of a system, whose parts may start later than the service."""

    async def ask_alert_manager(request: Request[Any]) -> Any:
        return await (await system.lookup(ALERT_MANAGER)).ask(request)

    async def answer_metrics(request: Request[Any]) -> Any:
        return await system.metrics.answer(request)

    async def answer_page(request: Request[Any]) -> Any:
        return await system.ui.answer(request)

    service = AdminService(
        queries=DriverSpawner(control).ask_root,
        commands=ExecutionCommands(executions, executions.resume, executions.submit_for).answer,
        journal=JournalQueries(executions, executions.snapshot).answer,
        alerts=ask_alert_manager,
        metrics=answer_metrics,
        page=answer_page,
    )
    approvals = ApprovalRequests(lambda: system.lookup(APPROVALS), service.ask, service.ask)
    service.serve(Part.APPROVALS, approvals.answer)
    return service
