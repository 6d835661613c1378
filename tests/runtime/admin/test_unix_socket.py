"""The admin socket: its requests, its callers, and the errors of peers."""

import asyncio
import json
import os
import pwd
import random
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from callboard.actors.kernel.inspection.metric_sources import Name
from callboard.messages.control.views import ActorHistories, QueryActor, QuerySystem
from callboard.messages.core.errors import CallboardError, MailboxFull, PayloadTooLarge
from callboard.messages.jobs.commands import CancelExecution, ExecutionCancelled
from callboard.runtime.admin import unix_socket
from callboard.runtime.admin.port import Caller
from callboard.runtime.admin.principals import local_principal
from callboard.runtime.admin.service import AdminService
from callboard.runtime.admin.unix_socket import (
    EXECUTIONS,
    SYSTEM,
    AdminSocket,
    admin_sockets,
    connect,
    process_of,
)
from callboard.runtime.admin.wire import REQUEST_BYTES_MAX, decode_reply, encode_request
from callboard.runtime.api.start import start

ACTOR = QueryActor(path="x")


class Service(AdminService):
    """Answers everything, and notes the callers."""

    def __init__(self) -> None:
        super().__init__()
        self.callers: list[Caller] = []
        self.released = asyncio.Event()
        self.released.set()

    async def handle(self, request: Any, caller: Caller) -> Any:
        self.callers.append(caller)
        await self.released.wait()
        if isinstance(request, CancelExecution):
            return ExecutionCancelled(is_known=True)
        return ActorHistories(system="here")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with tempfile.TemporaryDirectory(prefix="cb") as folder:  # A socket's path must be short.
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    admin = AdminSocket(service)
    await admin.start()
    yield service
    await admin.stop()
    assert admin_sockets(SYSTEM) == []


def path() -> Path:
    (found,) = admin_sockets(SYSTEM)
    return found


async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(str(path()))


async def test_a_client_is_answered_and_known_by_its_process(service: Service) -> None:
    assert process_of(path()) == os.getpid()
    assert (await connect(path()).ask(ACTOR)).system == "here"
    assert (await connect(path()).ask(CancelExecution(execution_id="one"))).is_known
    me = local_principal("socket")
    expected = Caller("socket", os.getuid(), os.getpid(), me)
    known = expected if hasattr(socket, "SO_PEERCRED") else Caller("socket", principal=me)
    assert me.subject == f"local:{pwd.getpwuid(os.getuid()).pw_name}"
    assert service.callers == [known, known]


async def test_a_connection_carries_any_number_of_requests(service: Service) -> None:
    reader, writer = await opened()
    for _ in range(3):
        writer.write(encode_request(ACTOR) + b"nonsense\n")
        assert decode_reply(ACTOR, await reader.readline()).system == "here"
        assert "error" in json.loads(await reader.readline())
    writer.close()
    assert len(service.callers) == 3


async def test_a_line_without_an_end_is_refused_and_the_connection_closed(service: Service) -> None:
    reader, writer = await opened()
    writer.write(b"x" * (2 * REQUEST_BYTES_MAX))
    with pytest.raises(PayloadTooLarge):
        decode_reply(ACTOR, await reader.readline())
    assert service.callers == []
    writer.close()


async def test_garbage_gets_errors_and_harms_no_other_client(service: Service) -> None:
    chance = random.Random(7)
    for _ in range(50):
        noise = chance.randbytes(chance.randrange(1, 300))
        reader, writer = await opened()
        writer.write(noise)
        writer.write_eof()
        answers = (await reader.read()).splitlines()
        writer.close()
        assert len(answers) == noise.count(b"\n") + (not noise.endswith(b"\n"))
        assert all("error" in json.loads(answer) for answer in answers)
    assert service.callers == []
    assert (await connect(path()).ask(ACTOR)).system == "here"


async def test_a_silent_peer_is_disconnected(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_socket, "READ_TIMEOUT_S", 0.01)
    reader, writer = await opened()
    writer.write(b"{")
    assert await reader.read() == b""
    writer.close()


async def test_a_service_that_hangs_costs_a_client_its_deadline(service: Service) -> None:
    service.released.clear()
    with pytest.raises(TimeoutError):
        await connect(path(), timeout_s=0.01).ask(ACTOR)
    service.released.set()
    assert (await connect(path()).ask(ACTOR)).system == "here"


async def test_too_many_connections_are_turned_away(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_socket, "CONNECTIONS_MAX", 1)
    reader, writer = await opened()
    writer.write(encode_request(ACTOR))
    await reader.readline()
    with pytest.raises(MailboxFull):
        await connect(path()).ask(ACTOR)
    writer.close()


async def test_refused_connections_are_among_the_figures_of_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unix_socket, "CONNECTIONS_MAX", 0)
    async with start(engine="inline") as system:
        with pytest.raises(MailboxFull):
            await connect(path()).ask(ACTOR)
        counts = system._host.meters.instruments.read().counts
    assert counts[Name("callboard_connections_refused", "too_many")] == 1


@pytest.mark.skipif(
    not hasattr(socket, "SO_PEERCRED") or os.getuid() != 0,
    reason="only root can start another user's process, and only Linux names it",
)
async def test_another_user_is_refused_even_in_a_folder_that_is_open(
    service: Service, temporary: Path
) -> None:
    found = path()
    for each in (temporary, found.parent, found):
        each.chmod(0o777)
    stranger = (
        "import os, socket, sys; os.setgroups([]); os.setuid(65534); "
        "c = socket.socket(socket.AF_UNIX); c.connect(sys.argv[1]); print(c.recv(1))"
    )
    asked = await asyncio.create_subprocess_exec(
        sys.executable, "-c", stranger, str(found), stdout=asyncio.subprocess.PIPE, cwd="/"
    )
    out, _ = await asked.communicate()
    assert out == b"b''\n"
    assert service.callers == []
    found.parent.chmod(0o700)


async def test_a_peer_that_closes_without_an_answer_is_an_os_error(temporary: Path) -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_unix_server(close, str(temporary / f"0-{os.getpid()}.sock"))
    with pytest.raises(OSError, match=r".*") as error:
        await connect(temporary / f"0-{os.getpid()}.sock").ask(QuerySystem())
    assert not isinstance(error.value, CallboardError)
    server.close()


async def test_a_process_that_only_runs_executions_is_no_system() -> None:
    admin = AdminSocket(AdminService(), EXECUTIONS)
    await admin.start()
    assert admin_sockets(SYSTEM) == []
    assert [process_of(found) for found in admin_sockets(EXECUTIONS)] == [os.getpid()]
    await admin.stop()
