"""Requests and replies of the admin API as lines. Every line gets an answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.messages.control.principals import LOCAL
from callboard.messages.control.views import ActorHistories, QueryActor, QuerySystem
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import (
    CallboardError,
    DeadlineExceeded,
    InternalError,
    PayloadTooLarge,
    UsageError,
    VersionMismatch,
)
from callboard.messages.jobs.commands import CancelExecution
from callboard.runtime.admin.port import Caller
from callboard.runtime.admin.service import AdminService
from callboard.runtime.admin.wire import REQUEST_BYTES_MAX, decode_reply, encode_request

HERE = Caller("test", principal=LOCAL)
START = b'{"admin": 1, "version": 1, '
COMMAND = b'"request": "callboard.cancel_execution", "fields": {"execution_id": "one", '


class Change(Request[Contract], name="admin.change"):
    """No request of the admin API."""


class Endpoint:
    """Notes its requests."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def __call__(self, request: Any, /) -> Any:
        self.asked.append(request)
        return ActorHistories(system="s", near=("a", "b"))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe\n",
        b"[1, 2]\n",
        b"null\n",
        b"{}\n",
        b"[" * 50_000,
        b'{"request": "callboard.query_system", "version": 1}\n',
        START + b'"request": "callboard.spawn"}\n',
        START + b'"request": ["callboard.query_system"]}\n',
        START + b'"request": "callboard.query_system", "fields": 3}\n',
        START + b'"request": "callboard.query_system", "fields": [1]}\n',
        START + b'"request": "callboard.query_system", "fields": {"actors_max": "many"}}\n',
        START + b'"request": "callboard.query_actor"}\n',
        START + b'"request": "callboard.cancel_execution", "fields": {"execution_id": 1}}\n',
        START + COMMAND + b'"at": NaN}}\n',
        START + COMMAND + b'"version": 9999999999999999999}}\n',
    ],
)
async def test_a_line_that_is_no_request_is_answered_with_an_error(line: bytes) -> None:
    endpoint = Endpoint()
    answer = await AdminService(queries=endpoint, commands=endpoint).answer(line, HERE)
    assert endpoint.asked == []
    with pytest.raises(UsageError) as error:
        decode_reply(QuerySystem(), answer)
    assert error.value.advice


@pytest.mark.parametrize(
    ("key", "version", "kind"),
    [("admin", 2, VersionMismatch), ("version", 2, UsageError), ("version", "1", UsageError)],
)
async def test_another_version_is_answered_with_an_error(
    key: str, version: object, kind: type[CallboardError]
) -> None:
    endpoint, line = Endpoint(), json.loads(encode_request(QuerySystem()))
    answer = await AdminService(queries=endpoint).answer(
        json.dumps(line | {key: version}).encode(), HERE
    )
    assert endpoint.asked == []
    with pytest.raises(kind):
        decode_reply(QuerySystem(), answer)


@given(st.binary(max_size=200), st.integers(0, 100), st.integers(0, 20))
async def test_any_bytes_are_answered_with_one_line(noise: bytes, at: int, cut: int) -> None:
    whole = encode_request(QueryActor(path="host-1"))
    for line in (noise, whole[:at] + noise + whole[at + cut :]):
        answer = await AdminService(queries=Endpoint()).answer(line, HERE)
        assert answer.endswith(b"\n")
        assert answer.count(b"\n") == 1
        assert json.loads(answer).keys() in ({"admin", "reply"}, {"admin", "error"})


async def test_a_request_comes_through_and_its_reply_back() -> None:
    endpoint, request = Endpoint(), QueryActor(path="host-1/ä")
    answer = await AdminService(queries=endpoint).answer(encode_request(request), HERE)
    assert decode_reply(request, answer) == ActorHistories(system="s", near=("a", "b"))
    assert endpoint.asked == [request]


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (UsageError("not now.", advice="later"), UsageError, "not now"),
        (TimeoutError(), DeadlineExceeded, "no answer"),
        (ValueError("a defect"), InternalError, "a defect"),
    ],
)
async def test_an_error_of_the_endpoint_is_raised_on_the_other_side(
    raised: Exception, kind: type[CallboardError], said: str
) -> None:
    async def refuse(_: Any) -> Any:
        raise raised

    answer = await AdminService(queries=refuse).answer(encode_request(QuerySystem()), HERE)
    with pytest.raises(kind, match=said):
        decode_reply(QuerySystem(), answer)


@pytest.mark.parametrize("request_", [QuerySystem(), CancelExecution(execution_id="one")])
async def test_a_process_refuses_requests_that_it_cannot_answer(request_: Request[Any]) -> None:
    answer = await AdminService().answer(encode_request(request_), HERE)
    with pytest.raises(UsageError, match="executions"):
        decode_reply(request_, answer)


@pytest.mark.parametrize("answer", [b"", b"[1, 2]\n", b"{}", b'{"reply": {"hosts": 3}}\n'])
def test_an_invalid_answer_is_a_value_error(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r".*") as error:
        decode_reply(QuerySystem(), answer)
    assert not isinstance(error.value, CallboardError)


def test_a_contract_outside_the_api_cannot_be_sent() -> None:
    with pytest.raises(UsageError):
        encode_request(Change())
    assert json.loads(encode_request(QuerySystem(actors_max=3))) == {
        "admin": 1,
        "request": "callboard.query_system",
        "version": 1,
        "fields": {"actors_max": 3, "busiest_max": 0},
    }


async def test_a_request_that_is_too_long_is_neither_sent_nor_read() -> None:
    with pytest.raises(PayloadTooLarge):
        encode_request(QueryActor(path="x" * REQUEST_BYTES_MAX))
    endpoint, line = Endpoint(), encode_request(QuerySystem())
    answer = await AdminService(queries=endpoint).answer(b" " * REQUEST_BYTES_MAX + line, HERE)
    with pytest.raises(PayloadTooLarge):
        decode_reply(QuerySystem(), answer)
    assert endpoint.asked == []
