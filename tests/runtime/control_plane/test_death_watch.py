"""A process is killed, and an actor on another host and the driver are told, once each."""

import asyncio
import os
import signal
from typing import Any

import cloudpickle
import pytest

from callboard.messages.control.lifecycle import ExitReason
from callboard.messages.core.errors import HostLost
from callboard.messages.core.ref import Address
from callboard.runtime.api.inside import root_of
from callboard.runtime.api.start import start

from ...actors.kernel.monitors import fixture_actors as party

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]


async def test_a_killed_process_is_told_to_watchers_on_other_hosts() -> None:
    cloudpickle.register_pickle_by_value(party)
    try:
        async with start(engine="ray", name="watched", hosts=2) as system:
            target = await system.spawn(party.Participant, host=1)
            watcher = await system.spawn(party.Listener, host=2)
            partner = await system.spawn(party.Trapper, host=2)
            await watcher.ask(party.Do(what="watch", ref=target, times=2))
            await watcher.ask(party.Do(what="watch host", text="1"))
            await partner.ask(party.Do(what="link", ref=target))
            mine, crashed = system.watch(target), system.watch(watcher)
            # Back from there, so that all watches have arrived.
            await target.ask(party.GetNotices())
            process: Any = root_of(system).table.slots[1].process
            await process.ping()
            os.kill(process.pid, signal.SIGKILL)
            assert (await asyncio.wait_for(mine, 20.0)).kind is ExitReason.HOST_LOST
            told = await watcher.ask(party.GetNotices(count=3), timeout_s=20.0)
            assert [down.kind for down in told.downs] == [ExitReason.HOST_LOST] * 3
            assert told.downs[-1].ref.address == Address(1, 0)
            exit_signal = await partner.ask(party.GetNotices(count=1), timeout_s=20.0)
            assert [exited.kind for exited in exit_signal.exits] == [ExitReason.HOST_LOST]
            while True:
                try:
                    await target.ask(party.GetNotices(), timeout_s=30.0)
                except HostLost:
                    continue
                break
            # The next incarnation is watched by nobody, until somebody does.
            assert len((await watcher.ask(party.GetNotices())).downs) == 3
            again = system.watch(target)
            await target.ask(party.GetNotices())
            target.tell(party.Crash())
            down = await asyncio.wait_for(again, 20.0)
            assert (down.kind, down.comes_back) == (ExitReason.FAILED, True)
            assert "on purpose" in down.detail["message"]
            assert not crashed.done()
            await system.stop(watcher)
            assert (await asyncio.wait_for(crashed, 20.0)).kind is ExitReason.SHUTDOWN
    finally:
        cloudpickle.unregister_pickle_by_value(party)
