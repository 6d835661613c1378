"""The wiring: where hosts meet their adapters. Nothing else sees both."""

import random
from collections.abc import Callable
from typing import Any

import cloudpickle

from callboard.actors.host.host import Host
from callboard.actors.host.watchdog import Watchdog
from callboard.messages.lifecycle import Exit
from callboard.messages.ports import BlobStore, ChildRunner, SupervisorPort
from callboard.messages.spec import SupervisorSpec
from callboard.supervisors.supervisor import Supervisor

from .settings import Settings

__all__ = ["CloudPickler", "HostClock", "make_host"]


class CloudPickler:
    """Ships actor classes, also those of a driver's `__main__`, and constructor arguments."""

    def dumps(self, value: Any) -> bytes:
        """Pickle, by value what cannot be imported elsewhere."""
        return bytes(cloudpickle.dumps(value))

    def loads(self, data: bytes) -> Any:
        """The value again."""
        return cloudpickle.loads(data)


class HostClock:
    """A `Clock` that reads an event loop's time."""

    __slots__ = ("now",)

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now


def make_host(  # noqa: PLR0913 - what makes one host differ from another
    *,
    slot: int,
    epoch: int,
    name: str,
    settings: Settings,
    blobs: BlobStore,
    on_failed: Callable[[Exit], None] | None = None,
) -> tuple[Host, Watchdog]:
    """A host on the running event loop, with its watchdog running."""
    host: Host

    def make_supervisor(spec: SupervisorSpec, runner: ChildRunner) -> SupervisorPort:
        return Supervisor(spec, runner, HostClock(host.now), random.random)

    host = Host(
        slot=slot,
        epoch=epoch,
        name=name,
        make_supervisor=lambda spec, runner: make_supervisor(spec, runner),
        blobs=blobs,
        pickler=CloudPickler(),
        limits=settings.limits,
        ask_timeout_s=settings.ask_timeout_s,
        on_failed=on_failed,
    )
    watchdog = Watchdog(host, settings.blocked_s)
    watchdog.start()
    return host, watchdog
