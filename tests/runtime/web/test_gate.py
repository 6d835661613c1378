"""Who may ask: attacks by names, origins, forms, headers and lengths fail, and are counted."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Request

from callboard.runtime.web.settings import WebLimits, WebSettings

from .edge import GOOD, Served, serving
from .raw import RawSocket, answer_of, ask, exchange, request_bytes, upgrade_headers

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CHANGED: list[str] = []
routes = APIRouter()


@routes.api_route("/v1/thing", methods=["POST", "PUT", "PATCH", "DELETE"])
async def change(request: Request) -> dict[str, Any]:
    CHANGED.append(request.method)
    return {"bytes": len(await request.body())}


@routes.get("/v1/who")
async def who(request: Request) -> dict[str, Any]:
    assert request.client is not None
    return {"client": request.client.host, "scheme": request.url.scheme}


@routes.get("/v1/defect")
async def defect() -> None:
    raise RuntimeError("secret in /a/file/of/this/machine.py")


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    CHANGED.clear()
    limits = WebLimits(body_bytes_max=10_000, body_timeout_s=0.3)
    async with serving(WebSettings(limits=limits), routers=[routes]) as found:
        yield found


def origins_of(port: int) -> list[str]:
    return [
        "http://evil.example",
        f"http://evil.example:{port}",
        "null",
        f"https://127.0.0.1:{port}",
        f"http://127.0.0.1:{port + 1}",
        "http://127.0.0.1",
        f"http://127.0.0.1:{port}.evil.example",
        f"http://127.0.0.1:{port}/",
        "",
    ]


@pytest.mark.parametrize("method", METHODS)
async def test_a_foreign_origin_is_refused_on_every_method(served: Served, method: str) -> None:
    for origin in origins_of(served.port):
        answer = await ask(served.port, "/v1/thing", method=method, headers={"Origin": origin})
        assert answer.status == 403, origin
        assert not any(name.startswith("access-control") for name in answer.headers)
    assert served.server.refusals["wrong_origin"] == len(origins_of(served.port))
    assert not CHANGED


@pytest.mark.parametrize("path", ["/connection/websocket", "/stream"])
async def test_a_websocket_from_a_foreign_origin_is_refused(served: Served, path: str) -> None:
    for origin in origins_of(served.port):
        headers = upgrade_headers(served.port, {"Origin": origin})
        data = await exchange(served.port, request_bytes("GET", path, list(headers.items())))
        assert answer_of(data).problem["code"] == "wrong_origin", origin
    assert not served.hub.core.connections


async def test_the_own_page_may_use_api_and_streams(served: Served) -> None:
    own = {"Origin": f"http://127.0.0.1:{served.port}"}
    assert (await ask(served.port, "/v1/thing", method="POST", headers=own)).status == 200
    socket = await RawSocket.open(served.port, headers=own)
    assert "connect" in await socket.connect(GOOD)
    socket.abort()


@pytest.mark.parametrize("method", METHODS[2:])
async def test_a_cookie_without_an_origin_changes_nothing(served: Served, method: str) -> None:
    headers = {"Cookie": "session=a"}
    answer = await ask(served.port, "/v1/thing", method=method, headers=headers)
    assert answer.problem["code"] == "no_origin"
    assert not CHANGED


async def test_a_cookie_without_an_origin_opens_no_websocket(served: Served) -> None:
    headers = upgrade_headers(served.port, {"Cookie": "session=a"})
    data = await exchange(served.port, request_bytes("GET", "/stream", list(headers.items())))
    assert answer_of(data).problem["code"] == "no_origin"


async def test_a_foreign_page_reads_nothing_by_an_image_or_a_script(served: Served) -> None:
    fetched = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    answer = await ask(served.port, "/v1/who", headers=fetched)
    assert answer.problem["code"] == "wrong_origin"
    visited = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert (await ask(served.port, headers=visited)).status == 200


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded"])
async def test_a_form_of_a_foreign_page_changes_nothing(served: Served, media: str) -> None:
    headers = {
        "Origin": "http://evil.example",
        "Content-Type": media,
        "Content-Length": "2",
        "Cookie": "session=a",
    }
    answer = await ask(served.port, "/v1/thing", method="POST", headers=headers, more=b"{}")
    assert answer.status == 403
    assert not CHANGED


async def test_a_foreign_preflight_is_refused(served: Served) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "DELETE"}
    answer = await ask(served.port, "/v1/thing", method="OPTIONS", headers=headers)
    assert answer.status == 403
    assert not any(name.startswith("access-control") for name in answer.headers)


def hosts_of(port: int) -> list[str]:
    return [
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        f"127.0.0.1:{port + 1}",
        f"127.0.0.1:0{port}",
        f"127.0.0.1:{port}:{port}",
        f"127.0.0.1:{port}@evil.example",
        f"user@127.0.0.1:{port}",
        f"127.0.0.1.:{port}",
        f"0x7f000001:{port}",
        "",
    ]


@pytest.mark.parametrize("method", METHODS)
async def test_another_host_is_refused_on_every_method(served: Served, method: str) -> None:
    for host in hosts_of(served.port):
        answer = await ask(served.port, "/v1/thing", method=method, headers={"Host": host})
        assert answer.status in {400, 421}, host
    assert served.server.refusals["wrong_host"] > 3
    assert not CHANGED


async def test_another_host_opens_no_websocket(served: Served) -> None:
    for host in hosts_of(served.port):
        headers = upgrade_headers(served.port, {"Host": host})
        data = await exchange(served.port, request_bytes("GET", "/stream", list(headers.items())))
        assert answer_of(data).status in {400, 421}, host


@pytest.mark.parametrize("second", ["evil.example", "same"])
async def test_two_hosts_are_refused(served: Served, second: str) -> None:
    own = f"127.0.0.1:{served.port}"
    other = own if second == "same" else second
    for hosts in ([own, other], [other, own]):
        headers = [("Host", hosts[0]), ("Host", hosts[1]), ("Connection", "close")]
        data = await exchange(served.port, request_bytes("GET", "/healthz", headers))
        assert answer_of(data).problem["status"] == 400


async def test_a_target_with_a_host_of_its_own_is_refused(served: Served) -> None:
    for target in (f"http://127.0.0.1:{served.port}/healthz", "http://evil.example/", "*"):
        assert (await ask(served.port, target)).problem["code"] == "absolute_target"


async def test_a_host_that_the_settings_name_is_served() -> None:
    settings = WebSettings(hosts=("jobs.example.org",), origins=("https://jobs.example.org",))
    async with serving(settings) as served:
        headers = {"Host": "Jobs.Example.Org", "Origin": "https://jobs.example.org"}
        assert (await ask(served.port, headers=headers)).status == 200


async def test_a_secret_in_a_url_is_refused(served: Served, caplog: Any) -> None:
    for name in ("token", "access_token", "Authorization", "jwt", "cf_connect"):
        answer = await ask(served.port, f"/healthz?{name}={GOOD}")
        assert answer.problem["code"] == "secret_in_url"
        assert GOOD.encode() not in answer.body
        headers = upgrade_headers(served.port)
        request = request_bytes("GET", f"/stream?{name}={GOOD}", list(headers.items()))
        assert answer_of(await exchange(served.port, request)).problem["code"] == "secret_in_url"
    assert GOOD not in caplog.text


# --- headers and lengths -------------------------------------------------------------------------


async def test_too_many_headers_are_refused(served: Served) -> None:
    headers = {f"X-{index}": "a" for index in range(200)}
    assert (await ask(served.port, headers=headers)).problem["code"] == "headers_too_large"
    assert served.server.refusals["headers_too_large"] == 1


@pytest.mark.parametrize(
    "headers", [{"X-Long": "a" * 200_000}, {f"X-{i}": "" for i in range(5000)}]
)
async def test_an_endless_head_is_refused(served: Served, headers: dict[str, str]) -> None:
    found = {"Host": f"127.0.0.1:{served.port}", **headers}
    data = await exchange(served.port, request_bytes("GET", "/healthz", list(found.items())))
    assert not data or answer_of(data).status in {400, 431}


async def test_two_lengths_are_refused(served: Served) -> None:
    body = b"2\r\n{}\r\n0\r\n\r\n"
    both = {"Content-Length": "4", "Transfer-Encoding": "chunked"}
    answer = await ask(served.port, "/v1/thing", method="POST", headers=both, more=body)
    assert answer.problem["code"] == "two_lengths"
    own = f"127.0.0.1:{served.port}"
    for lengths in (["2", "3"], ["2", "2"]):
        headers = [("Host", own), ("Connection", "close")]
        headers += (("Content-Length", length) for length in lengths)
        data = await exchange(served.port, request_bytes("POST", "/v1/thing", headers) + b"{}")
        assert not data or answer_of(data).status in {200, 400}
    assert CHANGED in ([], ["POST"])  # Two lengths that agree are one for h11.


@pytest.mark.parametrize("length", ["-1", "+2", "0x2", "2,3", "1e3", "9" * 30, "٣"])
async def test_a_length_that_is_no_number_is_refused(served: Served, length: str) -> None:
    headers = [("Host", f"127.0.0.1:{served.port}")]
    head = request_bytes("POST", "/v1/thing", headers).removesuffix(b"\r\n")
    data = await exchange(served.port, head + f"Content-Length: {length}\r\n\r\n".encode() + b"{}")
    assert not data or answer_of(data).status in {400, 413}
    assert not CHANGED


async def test_a_smuggled_second_request_is_not_served(served: Served) -> None:
    own = f"127.0.0.1:{served.port}"
    hidden = request_bytes("DELETE", "/v1/thing", [("Host", own)])
    headers = {"Transfer-Encoding": "chunked", "Content-Length": str(len(hidden) + 5)}
    await ask(served.port, "/v1/thing", method="POST", headers=headers, more=b"0\r\n\r\n" + hidden)
    assert "DELETE" not in CHANGED


async def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    own = ("Host", f"127.0.0.1:{served.port}")
    data = await exchange(
        served.port,
        request_bytes("GET", "/v1/who", [own])
        + request_bytes("GET", "/nowhere", [own])
        + request_bytes("GET", "/healthz", [own, ("Connection", "close")]),
    )
    assert re.findall(rb"HTTP/1.1 (\d+)", data) == [b"200", b"404", b"200"]


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused(served: Served, is_chunked: bool) -> None:
    if is_chunked:
        headers = {"Transfer-Encoding": "chunked"}
        more = b"2ee0\r\n" + b"a" * 12_000 + b"\r\n0\r\n\r\n"
    else:
        headers, more = {"Content-Length": "12000"}, b""
    answer = await ask(served.port, "/v1/thing", method="POST", headers=headers, more=more)
    assert answer.problem["status"] == 413
    assert served.server.refusals["too_large"] == 1


async def test_a_body_that_does_not_come_is_given_up(served: Served) -> None:
    headers = {"Content-Length": "100"}
    answer = await ask(served.port, "/v1/thing", method="POST", headers=headers, more=b"{")
    assert answer.problem["status"] == 408
    assert served.server.refusals["slow_body"] == 1


# --- proxies -------------------------------------------------------------------------------------

FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}


async def test_a_stranger_cannot_say_for_whom_it_asks(served: Served) -> None:
    answer = await ask(served.port, "/v1/who", headers=FORWARDED)
    assert answer.body == b'{"client":"127.0.0.1","scheme":"http"}'


async def test_a_listed_proxy_says_for_whom_it_asks() -> None:
    async with serving(WebSettings(proxies=("127.0.0.1",)), routers=[routes]) as served:
        answer = await ask(served.port, "/v1/who", headers=FORWARDED)
        assert answer.body == b'{"client":"203.0.113.9","scheme":"https"}'


@pytest.mark.parametrize("prefix", ["", "/a/b"])
async def test_a_proxy_may_strip_its_prefix_or_not(prefix: str) -> None:
    async with serving(WebSettings(prefix="/a/b"), routers=[routes]) as served:
        assert (await ask(served.port, f"{prefix}/v1/who")).status == 200
        socket = await RawSocket.open(served.port, f"{prefix}/connection/websocket")
        assert "connect" in await socket.connect(GOOD)
        socket.abort()
        assert (await ask(served.port, "/a/b")).headers["location"] == "/a/b/"
        assert (await ask(served.port, "/a/bc")).status == 404


# --- answers -------------------------------------------------------------------------------------


async def test_every_answer_forbids_frames_scripts_of_others_and_caches(
    served: Served,
) -> None:
    for target in ("/healthz", "/nowhere", "/v1/stream", "/v1/thing", "/openapi.json"):
        headers = (await ask(served.port, target)).headers
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


async def test_refusals_of_routes_are_problems(served: Served) -> None:
    assert (await ask(served.port, "/nowhere")).problem["status"] == 404
    refused = await ask(served.port, "/v1/thing")
    assert refused.problem["status"] == 405
    assert set(refused.headers["allow"].split(", ")) == {"POST", "PUT", "PATCH", "DELETE"}
    headers = {"Authorization": f"Bearer {GOOD}"}
    invalid = await ask(served.port, "/v1/stream?per_second=-1", headers=headers)
    assert invalid.problem["errors"][0]["pointer"] == "query/per_second"
    assert ".py" not in invalid.body.decode()


async def test_a_defect_shows_nothing_of_the_server(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await ask(served.port, "/v1/defect")
    assert answer.problem["code"] == "internal"
    assert b"machine" not in answer.body
    assert b"RuntimeError" not in answer.body
    assert "secret in" in caplog.text  # The log of the server has it.


async def test_garbage_is_a_problem_too(served: Served) -> None:
    for data in (
        b"\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\r\n",
    ):
        found = await exchange(served.port, data + b"\r\n")
        assert not found or answer_of(found).problem["status"] in {400, 421}


async def test_health_and_readiness(served: Served) -> None:
    assert (await ask(served.port, "/healthz")).body == b'{"status":"ok"}'
    assert (await ask(served.port, "/readyz")).body == b'{"status":"ok"}'


# --- files of the page ---------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    (folder / "views").mkdir(parents=True)
    (folder / "index.html").write_text('<script type="module" src="static/app.js"></script>')
    (folder / "app.js").write_text('import "./views/a.js";')
    (folder / "views" / "a.js").write_text("export {};")
    (folder / "notes.txt").write_text("not for browsers")
    (tmp_path / "secret.js").write_text("secret")
    (folder / "link.js").symlink_to(tmp_path / "secret.js")
    return folder


async def test_files_have_names_that_change_with_them(page: Path) -> None:
    async with serving(page=page) as served:
        index = await ask(served.port, "/")
        assert index.headers["cache-control"] == "no-cache"
        name = index.body.decode().partition('src="')[2].partition('"')[0]
        found = await ask(served.port, f"/{name}")
        assert found.body == b'import "./views/a.js";'
        assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert found.headers["content-type"] == "text/javascript; charset=utf-8"
        known = {"If-None-Match": found.headers["etag"]}
        assert (await ask(served.port, f"/{name}", headers=known)).status == 304
        inner = f"/{name.removesuffix('app.js')}views/a.js"
        assert (await ask(served.port, inner)).status == 200
    (page / "app.js").write_text("changed")
    async with serving(page=page) as served:
        assert name not in (await ask(served.port, "/")).body.decode()
        assert (await ask(served.port, f"/{name}")).status == 404


@pytest.mark.parametrize(
    "name",
    [
        "../secret.js",
        "..%2fsecret.js",
        "%2e%2e/secret.js",
        "views/../../secret.js",
        "....//secret.js",
        "link.js",
        "notes.txt",
        "views",
        "",
        "app.js%00.html",
        "/etc/passwd",
    ],
)
async def test_no_path_and_no_link_leaves_the_page(page: Path, name: str) -> None:
    async with serving(page=page) as served:
        index = (await ask(served.port, "/")).body.decode()
        digest = index.partition("static/")[2].partition("/")[0]
        for target in (f"/static/{digest}/{name}", f"/static/{name}", f"/{name}"):
            answer = await ask(served.port, target)
            assert answer.status in {200, 400, 404, 307}
            assert b"secret" not in answer.body
            assert b"root:" not in answer.body
            assert answer.status != 200 or target == "/"


async def test_many_requests_at_once_are_answered(served: Served) -> None:
    answers = await asyncio.gather(*(ask(served.port, "/v1/who") for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
