"""Submit and follow executions of a system from outside of its cluster, over its HTTP API.

    async with connect("https://jobs.example.org/", token=token) as remote:
        handle = await remote.submit("review", Review(path="a.py"), result=Report, id="review-7")
        async for event in handle.updates():
            print(event["kind"])
        report = await handle.result()

The job is code of the system, which offers it by its name (`System.offer`). The client needs only
the contracts of request and result. Every call has a deadline. A submission with an id, and every
wait, may be repeated, and so they are repeated when the connection is lost.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar, overload
from urllib.parse import quote, urlencode
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from callboard.messages.control.spec import Backoff
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import (
    CallboardError,
    ClusterUnreachable,
    DeadlineExceeded,
    InvalidMessage,
    error_from_data,
)
from callboard.messages.core.timeouts import checked_timeout
from callboard.messages.jobs.commands import QueryPartials
from callboard.messages.jobs.job import Job
from callboard.messages.jobs.updates import SubTaskPartial

from ..admin.client import AdminClient
from ..admin.port import Exchange
from ..telemetry.tracing.current import current_traceparent
from ..transport.http_calls import Answer, check_server, http_call

__all__ = ["RemoteHandle", "RemoteSystem", "admin_exchange", "connect"]

ResultT = TypeVar("ResultT")
ANSWER_BYTES_MAX: Final = 1 << 26
CALL_TIMEOUT_S: Final = 30.0
WAIT_S: Final = 15.0
"""How long the server holds a question for a result."""
LOST_S_MAX: Final = 60.0
"""For how long a call that may be repeated is repeated."""
LIVE_S: Final = 0.2
"""How often a follower asks for partial results."""
POLL_S: Final = 2.0
"""How long a follower waits where the server has no stream."""
SILENCE_S: Final = 40.0
"""A stream without even a comment for so long is dead: the server sends one every 15 s."""
BACKOFF: Final = Backoff(min_s=0.2, max_s=5.0)
PAGE: Final = 500
Events = Mapping[str, Any]


@contextlib.asynccontextmanager
async def connect(url: str, *, token: str) -> AsyncIterator["RemoteSystem"]:
    """A system behind the URL of its web server, for the principal of a token.

    Raises `UsageError` for an address to which the token would go unencrypted, `ClusterUnreachable`
    when nothing answers there, and the server's refusal of the token.
    """
    check_server(url)
    remote = RemoteSystem(url, token)
    await remote.call("GET", "v1/me")
    yield remote


class RemoteSystem:
    """One system; `connect` makes it."""

    def __init__(self, url: str, token: str) -> None:
        self.url: Final = url if url.endswith("/") else f"{url}/"
        """Where its web server is."""
        self.token: Final = token
        """What proves who asks."""

    def __repr__(self) -> str:
        return f"RemoteSystem({self.url!r})"  # The token must not get into a log.

    @overload
    async def submit(
        self,
        job: str | Job[Any, Any],
        request: Contract,
        *,
        result: type[ResultT],
        id: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> "RemoteHandle[ResultT]": ...

    @overload
    async def submit(
        self,
        job: str | Job[Any, Any],
        request: Contract,
        *,
        id: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> "RemoteHandle[Any]": ...

    async def submit(
        self,
        job: str | Job[Any, Any],
        request: Contract,
        *,
        result: Any = Any,
        id: str | None = None,  # noqa: A002 - the word of the HTTP API
        attributes: Mapping[str, Any] | None = None,
    ) -> "RemoteHandle[Any]":
        """Submit a request of a job that the system offers; returns when the journal has it.

        `result` is the type of the job's result; without it the result is plain values. The same
        `id` and request run once, however often they are submitted.

        Raises `ExecutionIdTaken` when another request has the id, `InvalidMessage` for fields that
        do not fit, and the other refusals of the server.
        """
        name = job if isinstance(job, str) else job.name
        body = {
            "job": name,
            "fields": request.model_dump(mode="json"),
            "attributes": dict(attributes or {}),
            # An id of its own lets the call be repeated when its answer is lost.
            "id": id or uuid4().hex,
        }
        done = await self.call("POST", "v1/executions", body)
        return RemoteHandle(self, str(done["id"]), result)

    def handle(self, execution_id: str, *, result: Any = Any) -> "RemoteHandle[Any]":
        """The handle of an execution that was submitted before."""
        return RemoteHandle(self, execution_id, result)

    # --- calls ---------------------------------------------------------------------------------

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any
    ) -> dict[str, Any]:
        """The answer of a route that may be asked again. Raises its refusal as an error.

        Raises `ClusterUnreachable` when nothing answers within a minute.
        """
        sent = b"" if body is None else json.dumps(body).encode()
        loop = asyncio.get_running_loop()
        end_s, failures = loop.time() + LOST_S_MAX, 0
        while True:
            try:
                async with (
                    asyncio.timeout(CALL_TIMEOUT_S),
                    self.open(method, path, sent, **query) as answer,
                ):
                    return await _checked(answer)
            except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
                failures += 1
                wait_s = BACKOFF.delay_s(failures, random.random())  # noqa: S311 - a jitter
                if failures == 1 and isinstance(error, ConnectionRefusedError):
                    raise _unreachable(self.url, error) from None
                if loop.time() + wait_s > end_s:
                    raise _unreachable(self.url, error) from None
                await asyncio.sleep(wait_s)
            except ValueError as error:
                raise _unreachable(self.url, error) from None

    def open(
        self, method: str, path: str, body: bytes = b"", **query: Any
    ) -> contextlib.AbstractAsyncContextManager[Answer]:
        """One call of a route, for its answer as it comes."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "*/*"}
        if traceparent := current_traceparent():
            headers["traceparent"] = traceparent
        if body:
            headers["Content-Type"] = "application/json"
        text = f"?{urlencode(query)}" if query else ""
        return http_call(method, f"{self.url}{path}{text}", headers, body)


def admin_exchange(url: str, token: str) -> Exchange:
    """Carries lines of the admin API to the web server at a URL, for the principal of a token.

    Raises `UsageError` for an address to which the token would go unencrypted. The exchange raises
    the server's refusal, and `ClusterUnreachable`.
    """
    check_server(url)
    remote = RemoteSystem(url, token)

    async def exchange(line: bytes) -> bytes:
        try:
            async with remote.open("POST", "v1/admin", line) as answer:
                body = await answer.body(ANSWER_BYTES_MAX)
                if answer.status != HTTPStatus.OK:
                    raise error_of(json.loads(body))
                return body
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise _unreachable(remote.url, error) from None

    return exchange


class RemoteHandle(Generic[ResultT]):
    """One execution of a remote system."""

    def __init__(self, remote: RemoteSystem, execution_id: str, result: Any) -> None:
        self.id: Final = execution_id
        self._remote: Final = remote
        self._path: Final = f"v1/executions/{quote(execution_id, safe='')}"
        self._adapter: Final[TypeAdapter[Any]] = TypeAdapter(result)

    async def result(self, timeout_s: float | None = None) -> ResultT:
        """The result of the job; see `ExecutionHandle.result`.

        Raises `DeadlineExceeded` after `timeout_s`, the error of the execution, and
        `InvalidMessage` for a result that is not of the stated type.
        """
        loop = asyncio.get_running_loop()
        end_s = None if timeout_s is None else loop.time() + checked_timeout(timeout_s)
        while True:
            left_s = WAIT_S if end_s is None else end_s - loop.time()
            if left_s <= 0:
                raise DeadlineExceeded(
                    f"execution {self.id} has no result within {timeout_s} s.",
                    advice="It goes on: wait again, or cancel it.",
                )
            wait_s = max(0.0, min(WAIT_S, left_s))
            found = await self._remote.call("GET", f"{self._path}/result", wait_s=wait_s)
            if not found["is_over"]:
                if found["status"] == "interrupted":
                    await asyncio.sleep(min(POLL_S, wait_s))  # Until a process continues it.
                continue
            if found["error"] is not None:
                raise error_from_data(found["error"])
            return self._built(found["result"])

    def _built(self, plain: Any) -> ResultT:
        built: ResultT = _built(self._adapter, plain, f"the result of execution {self.id}")
        return built

    async def state(self) -> Mapping[str, Any]:
        """The header of the execution: its status, counts, failures, and why it waits."""
        return await self._remote.call("GET", self._path)

    async def cancel(self) -> bool:
        """Cancel the execution; gives False if no process runs it."""
        return bool((await self._remote.call("POST", f"{self._path}/cancel"))["is_running"])

    async def updates(self, after: int = 0) -> AsyncGenerator[Events, None]:
        """The events of the execution after a version, until it has ended.

        Each event comes once, whatever becomes of the connection: its `version` is where a later
        call goes on.
        """
        version = after
        news = _News(self._remote, self.id)
        try:
            while True:
                view = await self.state()
                while page := await self._events(version):
                    for event in page:
                        version = event["version"]
                        yield event
                if view["is_over"] and version >= view["version"]:
                    return
                if version >= view["version"]:
                    await news.wait()
        finally:
            await news.close()

    async def partials(
        self, value: Any = Any, after: int = 0
    ) -> AsyncGenerator[SubTaskPartial, None]:
        """The partial results of its sub-tasks after the first `after`, while it runs.

        `value` is the type of what the handlers yield; without it the values are plain. The system
        keeps the last 256, also of an execution that has just ended; `skipped` says how many are
        missing before one. Raises `InvalidMessage` for one that is not of the stated type.
        """
        adapter: TypeAdapter[Any] = TypeAdapter(value)
        ask = AdminClient(admin_exchange(self._remote.url, self._remote.token), CALL_TIMEOUT_S).ask
        seen = after
        while True:
            # Before the question: so none that came before the end is missed.
            is_over = bool((await self.state())["is_over"])
            view = await ask(QueryPartials(execution_id=self.id, after=seen))
            for partial in view.partials:
                built = _built(adapter, partial.value, f"a partial result of {self.id}")
                yield partial.model_copy(update={"value": built})
            if is_over:
                return
            if view.is_known:
                # A process that has taken the execution over counts from 1 again.
                seen = view.seen if view.seen >= seen else 0
            await asyncio.sleep(LIVE_S)

    async def _events(self, version: int) -> list[Events]:
        found = await self._remote.call(
            "GET", f"{self._path}/events", limit=PAGE, after_version=version
        )
        items: list[Events] = found["items"]
        return items


def _built(adapter: TypeAdapter[Any], plain: Any, what: str) -> Any:
    try:
        return adapter.validate_json(json.dumps(plain))
    except ValidationError as error:
        raise InvalidMessage(
            f"{what} is not of the stated type: {error}",
            advice="State the type that the job gives, or none.",
        ) from None


class _News:
    """Waits for news of an execution: by the stream of its channel, or else for a while."""

    def __init__(self, remote: RemoteSystem, execution_id: str) -> None:
        self._remote = remote
        self._channel = f"execution:{execution_id}"
        self._open = contextlib.AsyncExitStack()
        self._answer: Answer | None = None

    async def wait(self) -> None:
        try:
            if self._answer is None:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    stream = self._remote.open("GET", "v1/stream", channel=self._channel)
                    self._answer = await self._open.enter_async_context(stream)
                if self._answer.status == HTTPStatus.OK:
                    return  # What came before the stream began is read first.
                await self._pause()
                return
            async with asyncio.timeout(SILENCE_S):
                while (line := await self._answer.reader.readline()).startswith((b":", b"\n")):
                    pass
            if not line:
                await self._pause()
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError):
            await self._pause()

    async def _pause(self) -> None:
        await self.close()
        await asyncio.sleep(POLL_S)

    async def close(self) -> None:
        self._answer = None
        opened, self._open = self._open, contextlib.AsyncExitStack()
        await opened.aclose()


async def _checked(answer: Answer) -> dict[str, Any]:
    body = await answer.body(ANSWER_BYTES_MAX)
    data = json.loads(body) if body else {}
    if not isinstance(data, dict):
        raise ValueError("the answer is no object")  # noqa: TRY004 - bytes from outside
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise error_of(data)
    return data


def error_of(problem: Mapping[str, Any]) -> CallboardError:
    """The error that a server has refused a request with."""
    return error_from_data(
        {
            "code": str(problem.get("code", "")),
            "message": str(problem.get("detail") or problem.get("title", "")),
            "advice": str(problem.get("advice", "")),
        }
    )


def _unreachable(url: str, error: Exception) -> ClusterUnreachable:
    return ClusterUnreachable(
        f"no server of Callboard answers at {url}: {str(error) or type(error).__name__}.",
        advice="Check the address, and that the system runs.",
    )
