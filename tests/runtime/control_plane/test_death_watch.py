"""After a kill, an actor on another host and the driver each get one notice."""

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

from ...actors.kernel.monitors import fixture_actors as actors

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]


async def test_watchers_on_other_hosts_learn_of_a_killed_process() -> None:
    cloudpickle.register_pickle_by_value(actors)
    try:
        async with start(engine="ray", name="watched", hosts=2) as system:
            target = await system.spawn(actors.Participant, host=1)
            watcher = await system.spawn(actors.Listener, host=2)
            partner = await system.spawn(actors.Trapper, host=2)
            await watcher.ask(actors.Do(what="watch", ref=target, times=2))
            await watcher.ask(actors.Do(what="watch host", text="1"))
            await partner.ask(actors.Do(what="link", ref=target))
            mine, crashed = system.watch(target), system.watch(watcher)
            # This reply comes after all watches have arrived.
            await target.ask(actors.GetNotices())
            process: Any = root_of(system).table.slots[1].process
            await process.ping()
            os.kill(process.pid, signal.SIGKILL)
            assert (await asyncio.wait_for(mine, 20.0)).kind is ExitReason.HOST_LOST
            notices = await watcher.ask(actors.GetNotices(count=3), timeout_s=20.0)
            assert [down.kind for down in notices.downs] == [ExitReason.HOST_LOST] * 3
            assert notices.downs[-1].ref.address == Address(1, 0)
            exit_signal = await partner.ask(actors.GetNotices(count=1), timeout_s=20.0)
            assert [exited.kind for exited in exit_signal.exits] == [ExitReason.HOST_LOST]
            while True:
                try:
                    await target.ask(actors.GetNotices(), timeout_s=30.0)
                except HostLost:
                    continue
                break
            # Nothing watches the next incarnation until the next call.
            assert len((await watcher.ask(actors.GetNotices())).downs) == 3
            again = system.watch(target)
            await target.ask(actors.GetNotices())
            target.tell(actors.Crash())
            down = await asyncio.wait_for(again, 20.0)
            assert (down.kind, down.comes_back) == (ExitReason.FAILED, True)
            assert "on purpose" in down.detail["message"]
            assert not crashed.done()
            await system.stop(watcher)
            assert (await asyncio.wait_for(crashed, 20.0)).kind is ExitReason.SHUTDOWN
    finally:
        cloudpickle.unregister_pickle_by_value(actors)
