"""A tell whose sender waits for room: in a mailbox of this host, or on the way to another one."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, DeadlineExceeded
from callboard.messages.core.ref import Address, check_message
from callboard.messages.core.timeouts import checked_timeout

from ..cell import Cell
from ..link.failures import actor_not_found
from ..link.link import Link
from ..link.queue import OutgoingMessage

__all__ = ["SendingHost", "send_when_room"]


class SendingHost(Protocol):
    """What sending needs of the host."""

    @property
    def slot(self) -> int:
        """Its place in the cluster."""

    @property
    def ask_timeout_s(self) -> float:
        """The default timeout."""

    @property
    def cells(self) -> Mapping[int, Cell]:
        """Its actors."""

    def link(self, slot: int) -> Link:
        """The link to a slot."""


async def send_when_room(
    host: SendingHost, address: Address, message: Contract, timeout_s: float | None
) -> None:
    """See `Ref.send`."""
    check_message(message)
    limit_s = host.ask_timeout_s if timeout_s is None else checked_timeout(timeout_s)
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    if address.slot == host.slot:
        _put(host, address, message, future)
    else:
        item = OutgoingMessage(address.cell, message, departure=future)
        host.link(address.slot).outbox.post(item)
    if not future.done():
        try:
            async with asyncio.timeout(limit_s):
                await future
        except TimeoutError:
            raise DeadlineExceeded(
                f"no room on the way to {address} within {limit_s:g} s.",
                advice="The receiver is slower than its senders: raise timeout_s or send less.",
                may_have_run=False,
            ) from None
    future.result()


def _put(
    host: SendingHost, address: Address, message: Contract, future: "asyncio.Future[None]"
) -> None:
    if future.done():
        return
    cell = host.cells.get(address.cell)
    if cell is None:
        future.set_exception(actor_not_found(*address))
    elif cell.has_room_for(message):
        try:
            cell.put(message)
        except CallboardError as error:
            future.set_exception(error)
        else:
            future.set_result(None)
    else:
        cell.when_room(message, lambda: _put(host, address, message, future))
