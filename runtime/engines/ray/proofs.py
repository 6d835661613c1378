"""Proofs that a process has ended: it runs no code any more, whatever else is cut or dead.

The kernel gives one for a process of this machine. For others Ray's control store has one when the
process died while its node lived: the node's raylet has seen the socket of the process close, which
the kernel does, and has reported the worker as failed.

Ray's other reports are none. "The actor is dead" comes as soon as somebody kills it, although its
node may not have heard of that. "Its node has died" is Ray's guess about a node that does not
answer. A worker that announces its own exit runs for some more milliseconds; its raylet kills it
then.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Final

import ray
from ray.core.generated import gcs_pb2

from ...transport.process_watch import Identity, until_ended

__all__ = ["from_mark", "has_died", "mark_of", "until_surely_ended"]

LOGGER: Final = logging.getLogger("callboard.ray")
QUERY_MIN_S: Final = 0.01
QUERY_MAX_S: Final = 0.5
ANNOUNCED_S: Final = 1.0
"""The time for the end of a worker that has announced it; its raylet waits a tenth of this."""
ANNOUNCED: Final = frozenset({1, 2, 3})
"""Ray's `WorkerExitType` of workers that announce their exit: INTENDED_SYSTEM_EXIT, USER_ERROR and
INTENDED_USER_EXIT. The others (SYSTEM_ERROR, NODE_OUT_OF_MEMORY) are seen from outside."""


def mark_of(identity: Identity | None, worker: str) -> tuple[Any, ...]:
    """The facts about a process by which its end can be proven."""
    return (None if identity is None else tuple(identity), worker)


def from_mark(mark: Sequence[Any]) -> tuple[Identity | None, str]:
    """The identity and the worker of a mark."""
    identity, worker = mark
    return None if identity is None else Identity(*identity), worker


async def until_surely_ended(identity: Identity | None, worker: str) -> None:
    """Return when the process of a worker has surely ended, or never."""
    proofs = [asyncio.ensure_future(_reported(worker))]
    if identity is not None:
        proofs.append(asyncio.ensure_future(until_ended(identity)))
    try:
        # A look that fails proves nothing.
        for proof in asyncio.as_completed(proofs):
            with contextlib.suppress(OSError, RuntimeError):
                await proof
                return
        await asyncio.get_running_loop().create_future()
    finally:
        for proof in proofs:
            proof.cancel()


async def has_died(worker: str) -> bool:
    """Whether the raylet of a worker has already reported that its process has ended."""
    found = await asyncio.to_thread(_failure_of, worker)
    return found is not None and found not in ANNOUNCED


async def _reported(worker: str) -> None:
    wait_s = QUERY_MIN_S
    while True:
        found = await asyncio.to_thread(_failure_of, worker)
        if found is not None:
            if found in ANNOUNCED:
                await asyncio.sleep(ANNOUNCED_S)
            return
        await asyncio.sleep(wait_s)
        wait_s = min(2.0 * wait_s, QUERY_MAX_S)


def _failure_of(worker: str) -> int | None:
    """Ray's type of exit of a worker that its raylet has reported; None for no report."""
    if not worker:
        return None
    try:
        state: Any = ray._private.state.state  # noqa: SLF001 - Ray has no public way
        accessor = state._connect_and_get_accessor()  # noqa: SLF001 - as above
        data = accessor.get_worker_info(ray.WorkerID.from_hex(worker))
    except Exception as error:  # noqa: BLE001 - whatever it is, it proves nothing
        LOGGER.debug("Ray does not answer about worker %s: %s", worker, error)
        return None
    if data is None:
        return None
    found: Any = gcs_pb2.WorkerTableData.FromString(data)  # type: ignore[attr-defined]
    return None if found.is_alive else int(found.exit_type)
