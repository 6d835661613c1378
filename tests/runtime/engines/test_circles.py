"""Asks in a circle over processes: the chain fails at once, and names its actors."""

import time
from typing import Any

import pytest

from callboard.messages.core.errors import CircularAsk, DeadlineExceeded
from callboard.messages.core.ref import Ref
from callboard.runtime.api.system import System

from . import fixture_actors as actors

pytestmark = pytest.mark.asyncio(loop_scope="session")

LATE_S = 2.0
"""How late an error may be seen on a loaded machine."""


async def test_a_circle_over_hosts_fails_at_once_and_names_its_actors(system: System) -> None:
    a = await system.spawn(actors.Forwarder, host=1, name="circle-a")
    b = await system.spawn(actors.Forwarder, host=2, name="circle-b")
    c = await system.spawn(actors.Forwarder, host=2, name="circle-c")
    await a.ask(actors.Visit(to=(b, c)), timeout_s=20.0)
    began_s = time.monotonic()
    for to in ((b, a), (b, c, a), (a,)):
        with pytest.raises(CircularAsk) as caught:
            await a.ask(actors.Visit(to=to), timeout_s=60.0)
        named = [name.partition(" ")[0] for name in caught.value.details["actors"]]
        assert named[0] == named[-1] == "/circle-a"
        assert len(named) == len(to) + 1
    assert time.monotonic() - began_s < LATE_S
    for ref in (a, b, c):
        await system.stop(ref)


async def test_a_reentrant_actor_handles_its_own_chain(system: System) -> None:
    a = await system.spawn(actors.ReentrantForwarder, host=1, name="reentrant-a")
    b = await system.spawn(actors.Forwarder, host=2, name="reentrant-b")
    seen = await a.ask(actors.Visit(to=(b, a, a)), timeout_s=20.0)
    assert seen.events == ("/reentrant-a", "/reentrant-b", "/reentrant-a", "/reentrant-a")
    for ref in (a, b):
        await system.stop(ref)


async def test_a_deadline_names_both_actors(system: System, recorder: Ref[Any]) -> None:
    one = await system.spawn(actors.Hanger, host=1, name="hanger-one")
    two = await system.spawn(actors.Hanger, host=2, name="hanger-two")
    hang = actors.Hang(recorder=recorder, label="both", to=(two,), timeout_s=0.2)
    with pytest.raises(DeadlineExceeded, match=r"/hanger-two on host.2") as caught:
        await one.ask(hang, timeout_s=20.0)
    assert "/hanger-one" in caught.value.message
    for ref in (one, two):
        await system.stop(ref)
