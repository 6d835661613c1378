"""A system with its hub, as a driver starts it: page, API and streams over real sockets."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")
pytest.importorskip("jwt")

import callboard as cb  # noqa: E402
from callboard import Agent, Contract, Job, Request, SubTask, handler  # noqa: E402
from callboard.actors.kernel.context import Context  # noqa: E402
from callboard.messages.control.principals import Principal, Scope  # noqa: E402
from callboard.messages.core.errors import ActorNotFound, SpecError  # noqa: E402
from callboard.runtime.admin.errors import AccessDenied  # noqa: E402
from callboard.runtime.admin.extension import AdminExtension  # noqa: E402
from callboard.runtime.admin.page_link import OpenPage  # noqa: E402
from callboard.runtime.admin.port import Caller  # noqa: E402
from callboard.runtime.api.inside import host_of  # noqa: E402
from callboard.runtime.api.system import System  # noqa: E402
from callboard.runtime.hosting.settings import Settings, settings_of  # noqa: E402
from callboard.runtime.hosting.ui_settings import UiSettings  # noqa: E402
from callboard.runtime.web.settings import WebSettings  # noqa: E402

OWN = {"x-callboard": "1"}


class Made(Contract, name="ui.made"):
    """The result of a step."""

    number: int = 0


class Make(Request[Made], name="ui.make"):
    """A step, which is published."""

    number: int = 0


class Maker(Agent):
    """Answers, and publishes what it has made."""

    @handler
    async def make(self, request: Make, ctx: Context) -> Made:
        made = Made(number=request.number)
        ctx.publish("made", made)
        return made


def _steps(order: Make) -> list[SubTask]:
    return [SubTask(f"step-{number}", Make(number=number)) for number in range(order.number)]


JOB = Job[Make, list[Made]](name="making", decompose=_steps)


@contextlib.asynccontextmanager
async def served(folder: Path, ui: UiSettings | bool = True, **more: Any) -> AsyncIterator[System]:
    journal = str(folder / "journal.db")
    options: dict[str, Any] = {
        "metrics": "memory:",
        "name": folder.name,
        "journal": journal,
        **more,
    }
    async with cb.start(engine="inline", hosts=1, ui=ui, **options) as system:
        yield system


@contextlib.asynccontextmanager
async def logged_in(system: System) -> AsyncIterator[Any]:
    """A client as the page is one: a link's code for a session, and that for a token."""
    opened = await system.ui.open_page()
    url, _, code = opened.links[0].partition("#code=")
    origin = {"origin": url.rstrip("/")}
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        answer = await client.post("/v1/login", json={"code": code}, headers=OWN | origin)
        assert answer.status_code == 204
        answer = await client.post("/v1/token", headers=OWN | origin)
        client.cookies.clear()
        client.headers["authorization"] = f"Bearer {answer.json()['token']}"
        yield client


async def until_event(client: Any, channel: str, begin: Callable[[], Any]) -> dict[str, Any]:
    """Follow a channel by server-sent events as `curl` does, `begin`, and give the first event.

    A stream that ends is resumed: the first event of a journal gives it its identity.
    """
    place: dict[str, str] = {}
    task: asyncio.Future[Any] | None = None
    async with asyncio.timeout(20):
        while True:
            query = {"params": {"channel": channel}, "headers": place}
            async with client.stream("GET", "/v1/stream", **query) as answer:
                assert answer.status_code == 200
                async for line in answer.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "id":
                        place = {"last-event-id": value}
                    if task is None and name == "retry":  # It is subscribed.
                        task = asyncio.ensure_future(begin())
                    event = json.loads(value) if name == "data" else {}
                    if "event_type" in event:
                        assert task is not None
                        await task
                        found: dict[str, Any] = event
                        return found


async def test_one_setting_serves_page_api_and_streams(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(tmp_path) as system:
        await system.pool(Maker, size=1)
        printed = capsys.readouterr().err
        assert f"The page of {tmp_path.name}: {(await system.ui.urls())[0]}#code=" in printed
        async with logged_in(system) as client:
            assert "<html" in (await client.get("/")).text
            me = (await client.get("/v1/me")).json()
            assert me["subject"].startswith("local:")
            assert (await client.get("/v1/system")).json()["name"] == tmp_path.name

            async def submit() -> None:
                await system.submit(JOB, Make(number=2), execution_id="one").result(10)

            event = await until_event(client, "executions", submit)
            assert event["metadata"]["tags"]["execution"] == "one"
            rows = (await client.get("/v1/executions")).json()["items"]
            assert [row["id"] for row in rows] == ["one"]
            assert (await client.get("/v1/metrics")).status_code == 200
            assert (await client.get("/v1/connections")).status_code == 200


async def test_what_an_actor_publishes_and_what_is_sent_in_reach_a_client(tmp_path: Path) -> None:
    async with served(tmp_path) as system:
        await system.pool(Maker, size=1)
        async with logged_in(system) as client:

            async def ask() -> None:
                await system.ask(Make(number=7))

            event = await until_event(client, "made", ask)
            assert (event["event_type"], event["payload"]) == ("ui.made", {"number": 7})

            async def send() -> None:
                body = {"channel": "orders", "event_type": "order.placed", "payload": {"id": 1}}
                assert (await client.post("/v1/events", json=body)).status_code == 202

            event = await until_event(client, "orders", send)
            assert (event["event_type"], event["payload"]) == ("order.placed", {"id": 1})
            refused = await client.post(
                "/v1/events", json={"channel": "system", "event_type": "x", "payload": None}
            )
            assert refused.status_code == 403


async def test_two_hubs_serve_the_same_channels_and_tokens(tmp_path: Path) -> None:
    async with served(tmp_path, UiSettings(hubs=2, prints_link=False)) as system:
        await system.pool(Maker, size=1)
        urls = await system.ui.urls()
        assert len(set(urls)) == 2
        async with logged_in(system) as client:
            for url in urls:
                client.base_url = url

                async def ask() -> None:
                    await system.ask(Make(number=3))

                assert (await until_event(client, "made", ask))["payload"] == {"number": 3}


async def test_a_hub_is_started_on_demand_and_only_once(tmp_path: Path) -> None:
    async with served(tmp_path, ui=False) as system:
        with pytest.raises(ActorNotFound, match="no hub"):
            await system.ui.open_page()
        service = host_of(system).extension(AdminExtension).service
        assert service is not None
        asker = Principal(subject="ada", way="http", scopes=(Scope.ADMIN,), channels=("a",))
        caller = Caller("http", principal=asker)
        opened: Any = await service.handle(OpenPage(), caller)
        again: Any = await service.handle(OpenPage(), caller)
        assert opened.urls == again.urls
        assert opened.links != again.links
        url, _, code = opened.links[0].partition("#code=")
        headers = OWN | {"origin": url.rstrip("/")}
        async with httpx.AsyncClient(base_url=url) as client:
            assert (
                await client.post("/v1/login", json={"code": code}, headers=headers)
            ).status_code == 204
            token = (await client.post("/v1/token", headers=headers)).json()["token"]
            me = await client.get("/v1/me", headers={"authorization": f"Bearer {token}"})
            # A link gives no more than its asker has.
            assert me.json()["scopes"] == ["admin"]
            assert me.json()["channels"] == ["a"]
            used = await client.post("/v1/login", json={"code": code}, headers=headers)
            assert used.status_code in {401, 403}
        reader = asker.model_copy(update={"scopes": (Scope.READ,)})
        with pytest.raises(AccessDenied):
            await service.handle(OpenPage(), Caller("http", principal=reader))


async def test_the_stores_of_pipelines_are_named_to_the_page(tmp_path: Path) -> None:
    async with served(tmp_path) as system, logged_in(system) as client:
        assert (await client.get("/v1/pipelines")).status_code == 404
    ui = UiSettings(pipelines=(str(tmp_path / "pipelines.db"),), prints_link=False)
    async with served(tmp_path, ui) as system, logged_in(system) as client:
        answer = await client.get("/v1/pipelines")
        assert answer.status_code == 200
        assert answer.json()["items"] == []


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    async with served(tmp_path, UiSettings(prints_link=False)) as system:
        port = int((await system.ui.urls())[0].rstrip("/").rpartition(":")[2])
        with pytest.raises(cb.errors.ActorStartFailed, match="cannot listen"):
            async with served(
                tmp_path / "b", UiSettings(web=WebSettings(port=port)), name="b", journal="off"
            ):
                pass


def test_the_environment_turns_the_page_on() -> None:
    settings = settings_of({"engine": "inline"}, {"CALLBOARD_UI": "yes"})
    assert settings.page == UiSettings()
    settings = settings_of({"engine": "inline"}, {"CALLBOARD_UI": "8123"})
    assert settings.page is not None
    assert settings.page.web.port == 8123
    assert settings_of({"engine": "inline"}, {"CALLBOARD_UI": "no"}).page is None
    with pytest.raises(SpecError, match="yes, no, or a port"):
        settings_of({}, {"CALLBOARD_UI": "perhaps"})
    with pytest.raises(SpecError, match="hubs"):
        UiSettings(hubs=0)
    with pytest.raises(SpecError, match="setting ui"):
        Settings(engine="inline", ui="yes")  # type: ignore[arg-type]


def test_a_system_without_a_page_loads_none_of_it() -> None:
    script = (
        "import asyncio, sys, callboard\n"
        "async def main():\n"
        "    async with callboard.start(engine='inline', hosts=1): pass\n"
        "asyncio.run(main())\n"
        "heavy = ('fastapi', 'uvicorn', 'jwt', 'callboard.runtime.web.server',\n"
        "    'callboard.runtime.channels', 'callboard.runtime.api.ui.web_hub')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
