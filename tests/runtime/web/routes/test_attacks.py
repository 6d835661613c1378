"""Attacks on the API: each is refused, and no secret gets into a log, an answer or a file.

The numbers are those of the list of attacks: 5 to 7, 14, 17, 18 (see test_tokens.py) and 20.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from callboard.messages.control.principals import ALL_SCOPES, LOCAL, Scope
from callboard.messages.core.errors import HandlerFailed, InternalError
from callboard.messages.storage.errors import StoreDamaged
from callboard.runtime.admin.port import Part

from .api_world import World, api_world

SECRET_PATH = "/srv/secret/place.py"
LIMIT_S = 10.0
ADA = LOCAL.model_copy(update={"subject": "local:ada"})


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with api_world(tmp_path) as world:
        yield world


async def test_5_a_token_in_a_url_is_refused(world: World) -> None:
    token = await world.token(*ALL_SCOPES)
    async with httpx.AsyncClient(base_url=world.url) as client:
        for path in (f"v1/system?token={token}", f"v1/system?access_token={token}"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (400, "secret_in_url")
            assert token not in answer.text
        for path in (f"v1/system/{token}", f"{token}/v1/system"):
            answer = await client.get(path)
            assert answer.status_code in {401, 404}
            assert token not in answer.text


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        "Basic YTpi",
        "bearer\u00a0x",
        "Bearer " + "x" * 5_000,
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
    ],
)
async def test_6_without_a_token_that_counts_every_route_is_closed(
    world: World, value: str | None
) -> None:
    headers = [] if value is None else [(b"authorization", value.encode("latin-1"))]
    open_paths = {"/v1/login", "/v1/logout", "/v1/token", "/v1/stream"}
    async with world.client() as known:
        paths = (await known.get("openapi.json")).json()["paths"]
    async with httpx.AsyncClient(base_url=world.url, headers=headers) as client:
        for path, operations in paths.items():
            if path in open_paths or not path.startswith(("/v1/", "/api/")):
                continue
            for method in operations:
                answer = await client.request(method.upper(), path.replace("{", "").rstrip("}"))
                assert answer.status_code == 401, (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"


async def test_6_two_tokens_in_one_request_are_none(world: World) -> None:
    token = await world.token(*ALL_SCOPES)
    headers = [("authorization", f"Bearer {token}")] * 2
    async with httpx.AsyncClient(base_url=world.url, headers=headers) as client:
        assert (await client.get("v1/me")).status_code in {400, 401}


async def test_6_and_20_open_connections_end_soon_after_a_revocation(world: World) -> None:
    token, record = await world.tokens.create("ada", 3_600.0, scopes=[Scope.READ], channels=("*",))
    url = f"{world.url.replace('http', 'ws')}connection/websocket"
    async with connect(url) as socket:
        await socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
        assert "connect" in json.loads(await socket.recv())
        began_s = time.monotonic()
        await world.tokens.revoke(record.id)
        async with asyncio.timeout(LIMIT_S):
            await socket.wait_closed()
        assert socket.close_code == 3500
        assert time.monotonic() - began_s < 5.0  # 1 s on a free machine.
    async with httpx.AsyncClient(base_url=world.url) as client:
        answer = await client.get("v1/me", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 401


async def test_7_a_token_subscribes_within_its_patterns_only(world: World) -> None:
    token, _ = await world.tokens.create(
        "ada", 3_600.0, scopes=[Scope.READ], channels=("execution:mine",)
    )
    stolen = world.tokens.subscription_token("eve", "execution:other", 3_600.0)
    asked: list[dict[str, Any]] = [
        {"subscribe": {"channel": channel}}
        for channel in (
            "execution:other",
            "execution:*",
            "*",
            "execution:mine ",
            "Execution:mine",
            "execution:m\u0456ne",
            "execution:mine\u200b",
            "executions",
            "events",
        )
    ]
    asked += [
        {"presence": {"channel": "execution:other"}},
        {"presence_stats": {"channel": "execution:other"}},
        {"history": {"channel": "execution:other", "limit": -1}},
        {"publish": {"channel": "execution:mine", "data": {}}},
        {"subscribe": {"channel": "execution:other", "token": stolen}},
    ]
    url = f"{world.url.replace('http', 'ws')}connection/websocket"
    async with connect(url) as socket:
        await socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
        assert "connect" in json.loads(await socket.recv())
        for number, command in enumerate(asked, 2):
            await socket.send(json.dumps({"id": number, **command}))
            async with asyncio.timeout(LIMIT_S):
                reply = json.loads(await socket.recv())
            assert reply["id"] == number
            assert "error" in reply, command


async def test_7_a_token_gives_no_rights_that_it_does_not_have(world: World) -> None:
    async with world.client(Scope.ADMIN, publishes=("orders",)) as client:
        for more in ({"scopes": ["read"]}, {"publishes": ["*"]}, {"publishes": ["ord*"]}):
            answer = await client.post("v1/tokens", json={"subject": "eve", **more})
            assert (answer.status_code, answer.json()["code"]) == (403, "access_denied"), more
        answer = await client.post("v1/tokens", json={"subject": "local:root"})
        assert answer.status_code == 400
        same = {"subject": "eve", "scopes": ["admin"], "publishes": ["orders"]}
        assert (await client.post("v1/tokens", json=same)).status_code == 201


async def test_14_what_users_write_comes_as_data_and_never_as_a_page(world: World) -> None:
    text = "<script>alert(1)</script>"
    await world.run(f"x{text}", fails=True)
    async with world.client() as client:
        for path in (
            "v1/executions",
            "v1/system",
            f"v1/executions/{text}",
            "v1/events",
            f"v1/actors/{text}/story",
        ):
            answer = await client.get(path)
            kind = answer.headers["content-type"]
            assert kind in {"application/json", "application/problem+json"}, path
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(f"SELECT secret FROM tokens; {SECRET_PATH}"),
        InternalError(f"failed in {SECRET_PATH}: SELECT secret"),
        HandlerFailed("it failed.", remote_traceback=f"File {SECRET_PATH}, line 1, SELECT secret"),
        StoreDamaged(f"table secret in {SECRET_PATH}"),
        OSError(2, "missing", SECRET_PATH),
        TimeoutError(SECRET_PATH),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_17_a_failure_shows_no_path_no_traceback_and_no_statement(
    world: World, error: Exception
) -> None:
    async def fail(_request: Any) -> Any:
        raise error

    for part in Part:
        world.service.serve(part, fail)
    async with world.client() as client:
        for path in ("v1/hosts", "v1/executions", "v1/executions/x/timeline", "v1/metrics"):
            answer = await client.get(path)
            assert answer.status_code >= 500, path
            assert answer.headers["content-type"] == "application/problem+json"
            for secret in (SECRET_PATH, "SELECT", "secret", "Traceback", ".py"):
                assert secret not in answer.text
        line = b'{"admin": 1, "request": "callboard.query_system", "version": 1, "fields": {}}'
        answer = await client.post("v1/admin", content=line)
        assert "error" in answer.json()
        assert SECRET_PATH not in answer.text


async def test_17_wrong_parts_of_a_request_are_named_without_the_server_s_code(
    world: World,
) -> None:
    async with world.client() as client:
        for answer in (
            await client.get("v1/executions", params={"limit": "many"}),
            await client.post("v1/executions", content=b"{"),
            await client.post("v1/executions", json={"job": 1}),
        ):
            assert answer.status_code == 422
            assert answer.json()["errors"]
            for secret in (".py", "line ", "callboard.runtime", "pydantic"):
                assert secret not in answer.text
        refused = await client.delete("v1/system")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET")


async def test_20_a_page_whose_user_has_lost_its_rights_gets_no_further_token(
    world: World,
) -> None:
    own = {"x-callboard": "page", "origin": world.url.rstrip("/")}
    async with httpx.AsyncClient(base_url=world.url, headers=own) as page:
        code = await world.tokens.create_code(ADA)
        entered = await page.post("v1/login", json={"code": code})
        assert entered.status_code == 204
        cookie = entered.headers["set-cookie"].lower()
        for attribute in ("httponly", "samesite=strict", "path=/"):
            assert attribute in cookie
        assert (await page.post("v1/login", json={"code": code})).status_code == 401
        made = (await page.post("v1/token")).json()
        bearer = {"authorization": f"Bearer {made['token']}"}
        assert (await page.get("v1/me", headers=bearer)).json()["subject"] == "local:ada"
        # The cookie alone opens nothing.
        assert (await page.get("v1/me")).status_code == 401
        assert (await page.post("v1/executions/x/cancel")).status_code == 401
        without = {name: value for name, value in own.items() if name == "origin"}
        bare = httpx.AsyncClient(base_url=world.url, headers=without, cookies=page.cookies)
        async with bare as other:
            assert (await other.post("v1/token")).status_code == 422
        await world.tokens.revoke(made["id"])
        assert (await page.post("v1/token")).status_code == 401
        end_s = time.monotonic() + LIMIT_S
        while (await page.get("v1/me", headers=bearer)).status_code != 401:
            assert time.monotonic() < end_s


async def test_no_log_answer_or_file_of_a_run_with_all_logins_has_a_secret(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    own = {"x-callboard": "page", "origin": world.url.rstrip("/")}
    code = await world.tokens.create_code(ADA)
    async with httpx.AsyncClient(base_url=world.url, headers=own) as page:
        await page.post("v1/login", json={"code": code})
        session = page.cookies["callboard_session"]
        token = (await page.post("v1/token")).json()["token"]
        secrets = [code, session, token, await world.token(*ALL_SCOPES), f"{token}x"]
        for secret in secrets:
            bearer = {"authorization": f"Bearer {secret}"}
            seen.append((await page.get("v1/system", headers=bearer)).text)
            seen.append((await page.get("v1/system", params={"token": secret})).text)
            seen.append((await page.post("v1/login", json={"code": secret})).text)
            seen.append((await page.post("v1/admin", content=secret, headers=bearer)).text)
            body = {"job": "making", "id": "one"}
            seen.append((await page.post("v1/executions", json=body, headers=bearer)).text)
            url = f"{world.url.replace('http', 'ws')}connection/websocket"
            async with connect(url) as socket:
                await socket.send(json.dumps({"id": 1, "connect": {"token": secret}}))
                try:
                    seen.append(str(await socket.recv()))
                except ConnectionClosed as closed:
                    seen.append(str(closed))
        await page.post("v1/logout")
    await world.system._executions.journal.flush(10)  # type: ignore[union-attr]
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    own_log = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith("callboard")
    )
    for secret in secrets:
        assert secret not in "".join(seen)
        assert secret not in own_log
        assert secret.encode() not in files
