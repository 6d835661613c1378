"""One host without an engine, for what needs none."""

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio

from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.host.extension import MakeExtension
from callboard.actors.kernel.host.host import Host
from callboard.messages.control.spec import SupervisorSpec
from callboard.messages.core.ref import Address, Ref
from callboard.messages.ports import ChildRunner, SupervisorPort
from callboard.runtime.engines.inline import InlineBlobs
from callboard.runtime.hosting.wiring import CloudPickler, HostClock
from callboard.supervisors.supervisor import Supervisor

Spawn = Callable[..., Any]


def alone(*extensions: MakeExtension) -> Host:
    """Host 1, alone in the world."""
    made: list[Host] = []

    def bind(address: Address) -> Ref[Any]:
        return made[0].ref(address)

    def supervisor(spec: SupervisorSpec, runner: ChildRunner) -> SupervisorPort:
        return Supervisor(spec, runner, HostClock(made[0].now), random.random)

    host = Host(
        slot=1,
        epoch=1,
        name="alone",
        make_supervisor=supervisor,
        blobs=InlineBlobs(),
        pickler=CloudPickler(bind),
        extensions=extensions,
    )
    made.append(host)
    return host


@pytest_asyncio.fixture
async def host() -> AsyncIterator[Host]:
    """Host 1, alone in the world."""
    host = alone()
    yield host
    await host.close()


@pytest_asyncio.fixture
async def spawn(host: Host) -> Spawn:
    """Start a top-level actor and give its reference."""

    async def started(actor: Any, *args: Any, **options: Any) -> Ref[Any]:
        cell = await host.spawn(Recipe(actor, args), None, **options)
        return host.ref(Address(1, cell.id))

    return started
