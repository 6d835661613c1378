"""One host without an engine, for tests that need none."""

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
from callboard.runtime.engines.inline import InlineLargeValues
from callboard.runtime.hosting.wiring import CloudPickler, HostClock
from callboard.supervisors.supervisor import Supervisor

Spawn = Callable[..., Any]


def make_host(*extensions: MakeExtension) -> Host:
    """Host 1, the only one."""
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
        large_values=InlineLargeValues(),
        pickler=CloudPickler(bind),
        extensions=extensions,
    )
    made.append(host)
    return host


@pytest_asyncio.fixture
async def host() -> AsyncIterator[Host]:
    """Host 1, the only one."""
    host = make_host()
    yield host
    await host.close()


@pytest_asyncio.fixture
async def spawn(host: Host) -> Spawn:
    """Start a top-level actor; returns its reference."""

    async def started(actor: Any, *args: Any, **options: Any) -> Ref[Any]:
        cell = await host.spawn(Recipe(actor, args), None, **options)
        return host.ref(Address(1, cell.id))

    return started
