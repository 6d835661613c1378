"""An execution that has ended withdraws its open approvals: nobody need decide them any more."""

import asyncio
import logging
from typing import Any, Final

from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.executions.history.recorder import Recorder
from callboard.actors.kernel.host.host import Host
from callboard.messages.control.approvals import APPROVALS, WithdrawForExecution
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError
from callboard.messages.jobs.execution import EXECUTION_TRANSITIONS, ExecutionStatus

__all__ = ["withdraw_approvals"]

LOGGER: Final = logging.getLogger("callboard")
ANSWER_S: Final = 15.0
TRIES_MAX: Final = 6
RETRY: Final = Backoff(min_s=0.5, max_s=10.0, jitter=0.0)


def withdraw_approvals(host: Host, handle: ExecutionHandle[Any], recorder: Recorder | None) -> None:
    """Withdraw them in the background, if the system keeps approvals and the execution is over.

    Approvals that cannot be reached for long keep the question until its deadline.
    """
    if host.directory.find(APPROVALS) is None:
        return
    status = handle.state().status
    is_over = not EXECUTION_TRANSITIONS[status] if recorder is None else recorder.has_ended
    if is_over:  # Otherwise this process has let go of it, and another one may resume it.
        host.run_task(_withdraw(host, handle.id, status, recorder))


async def _withdraw(
    host: Host, execution_id: str, status: ExecutionStatus, recorder: Recorder | None
) -> None:
    if recorder is not None:
        try:
            await recorder.settled()
        except CallboardError:
            return  # The journal does not have its end: another process goes on with it.
    request = WithdrawForExecution(
        execution_id=execution_id, reason=f"execution {execution_id} is {status}"
    )
    for tries in range(1, TRIES_MAX + 1):
        address = host.directory.find(APPROVALS)
        if address is None:
            return
        try:
            await host.ask(address, request, ANSWER_S)
        except CallboardError as error:
            LOGGER.info("the approvals of %s are not withdrawn yet: %s", execution_id, error)
            await asyncio.sleep(RETRY.delay_s(tries, 0.0))
        else:
            return
    LOGGER.warning("the open approvals of execution %s wait for their deadlines", execution_id)
