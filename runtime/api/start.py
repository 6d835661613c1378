"""`start` and `attach`: the two ways of a driver into a system, on the running event loop."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Final, Unpack

from ..hosting.settings import Settings, SettingsOptions, settings_of
from .local_systems import local_address
from .system import System

__all__ = ["attach", "start"]

ADDRESSES: Final = ("CALLBOARD_ADDRESS", "RAY_ADDRESS")
INTERRUPTED_STOP_S: Final = 1.5
"""How long actors may take to stop after Ctrl-C. Ray needs about as long to end, and all processes
must end within 5 s."""


@contextlib.asynccontextmanager
async def start(
    settings: Settings | None = None, /, **options: Unpack[SettingsOptions]
) -> AsyncIterator[System]:
    """Start a system on the running event loop, and stop it at the end of `async with`.

    A detached system continues at the end: only this driver leaves it. `options` are the fields
    of `Settings`. For an option that is left out or None, the environment counts
    (`CALLBOARD_HOSTS` and others).

    Raises `SpecError` for a wrong option, `NameTaken` when a detached system of that name runs
    already, `ClusterUnreachable` when no cluster answers, another `ClusterError` when the hosts
    do not start, and the errors of the journal's store when the settings name a journal.
    """
    system = System(settings if settings is not None else settings_of(options, os.environ))
    async with _open(system):
        yield system


@contextlib.asynccontextmanager
async def attach(
    name: str,
    *,
    address: str | None = None,
    start_timeout_s: float | None = None,
) -> AsyncIterator[System]:
    """Attach to the detached system `name`, and leave it at the end of `async with`.

    `address` is the address of its cluster, or `"auto"` for the cluster of this machine. With
    None, `CALLBOARD_ADDRESS` or `RAY_ADDRESS` counts, and else a system that `callboard up` has
    started on this machine. `start_timeout_s` bounds the connection, in
    seconds. Several drivers may attach at once. The asks of this driver end with it; the system,
    its actors and its executions continue.

    The driver waits while the root is replaced. When the system stops, or drops this driver after
    a long silence, pending calls end with `HostLost`.

    Raises `ActorNotFound` when no system of that name runs, `SpecError` without an address, and
    `ClusterError` when the cluster cannot be used.
    """
    if address is None and not any(map(os.environ.get, ADDRESSES)):
        address = await asyncio.to_thread(local_address, name)
    options = {
        "name": name,
        "address": address,
        "start_timeout_s": start_timeout_s,
        "detached": True,
    }
    system = System(settings_of(options, os.environ), joins=True)
    async with _open(system):
        yield system


@contextlib.asynccontextmanager
async def _open(system: System) -> AsyncIterator[None]:
    interrupted = False
    try:
        await system.open()
        yield
    except (asyncio.CancelledError, KeyboardInterrupt):
        interrupted = True
        if system.failure is not None:
            raise system.failure from None
        raise
    finally:
        timeout_s = INTERRUPTED_STOP_S if interrupted else system.settings.stop_timeout_s
        await asyncio.shield(asyncio.ensure_future(system.close(timeout_s)))
