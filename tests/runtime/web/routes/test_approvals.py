"""Approvals over HTTP: questions of handlers and steps in doubt, decided by principals."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

import httpx
import pytest_asyncio

import callboard as cb
from callboard.jobs import AskApproval, start_approvals
from callboard.messages.control.principals import Scope

from .api_world import World, api_world

DEADLINE_S: Final = 20.0


class Paid(cb.Contract, name="approvals.paid"):
    by: str = ""


class Pay(cb.Request[Paid], name="approvals.pay"):
    asks: bool = False


class Bank(cb.Agent):
    fails: ClassVar[bool] = False

    @cb.handler
    async def pay(self, request: Pay, ctx: cb.Context) -> Paid:
        if request.asks:
            found = await ctx.approval("Pay <b>3</b> EUR?", details={"euros": 3})
            return Paid(by=found.decisions[0].by if found.is_given else "")
        if Bank.fails:
            Bank.fails = False
            raise ValueError("the line broke")
        return Paid()


UNSURE: Final = cb.Job[Pay, list[Paid]](
    name="unsure", decompose=lambda _: (cb.SubTask("pay: it/now", Pay(), non_idempotent=True),)
)
ASKING: Final = cb.Job[Pay, list[Paid]](
    name="asking", decompose=lambda _: (cb.SubTask("pay", Pay(asks=True)),)
)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    Bank.fails = False
    async with api_world(tmp_path) as world:
        await world.system.pool(Bank, size=1)
        yield world


async def only(client: httpx.AsyncClient) -> dict[str, Any]:
    """The one open approval, once it is there."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answer = (await client.get("v1/approvals", params={"state": "asked"})).json()
            if answer["items"]:
                assert (len(answer["items"]), answer["open"]) == (1, 1)
                found: dict[str, Any] = answer["items"][0]
                return found


async def test_a_sub_task_waits_for_a_person(world: World) -> None:
    await start_approvals(world.system)
    handle = world.system.submit(ASKING, Pay(), execution_id="one")
    async with world.client(subject="bob") as client, world.client(Scope.READ) as reader:
        found = await only(client)
        assert (found["subject"], found["details"]) == ("Pay <b>3</b> EUR?", {"euros": 3})
        path = f"v1/approvals/{found['id']}"
        body = {"gives": True, "reason": "it is due"}
        assert (await reader.post(f"{path}/decide", json=body)).status_code == 403
        done = await client.post(f"{path}/decide", json=body)
        assert (done.status_code, done.json()["state"]) == (200, "given")
        again = await client.post(f"{path}/decide", json=body)
        assert again.json() == done.json(), "a repetition changes nothing"
        other = await client.post(f"{path}/decide", json={"gives": False})
        assert (other.status_code, other.json()["code"]) == (409, "approval_ended")
        assert [paid.by for paid in await handle.result(DEADLINE_S)] == ["bob"]
        seen = (await reader.get(path)).json()
        assert (seen["decisions"][0]["by"], seen["decisions"][0]["reason"]) == ("bob", "it is due")
        none = await client.get("v1/approvals/none")
        assert (none.status_code, none.json()["code"]) == (404, "unknown_approval")
        assert (await client.post("v1/approvals/none/decide", json=body)).status_code == 404


async def test_a_step_in_doubt_is_an_approval_with_who_and_why_in_the_journal(
    world: World,
) -> None:
    Bank.fails = True
    handle = world.system.submit(UNSURE, Pay(), execution_id="a/b:c")
    async with world.client(subject="bob") as client:
        found = await only(client)  # No actor keeps approvals: the journal has this one.
        assert found["details"]["step"] == "pay: it/now"
        assert found["details"]["execution"] == "a/b:c"
        assert found["ends_at"] == 0.0
        path = f"v1/approvals/{quote(found['id'], safe='')}"
        assert (await client.get(path)).json()["id"] == found["id"]
        done = await client.post(f"{path}/decide", json={"gives": True, "reason": "unpaid"})
        assert (done.status_code, done.json()["state"]) == (200, "given")
        await handle.result(DEADLINE_S)
        late = await client.post(f"{path}/decide", json={"gives": False})
        assert (late.status_code, late.json()["code"]) == (409, "approval_ended")
        assert (await client.get("v1/approvals")).json()["items"] == []
        events = (await client.get("v1/executions/a%2Fb%3Ac/events")).json()["items"]
        (decided,) = [event["fields"] for event in events if event["kind"].endswith("decided")]
        assert (decided["by"], decided["reason"]) == ("bob", "unpaid")


async def test_lists_have_pages_over_both_kinds(world: World) -> None:
    manager = await start_approvals(world.system)
    for number in range(5):
        await manager.ask(AskApproval(id=f"q{number}", subject="?", asked_by="ada"))
    Bank.fails = True
    world.system.submit(UNSURE, Pay(), execution_id="one")
    async with world.client() as client:
        async with asyncio.timeout(DEADLINE_S):
            while (await client.get("v1/approvals")).json()["open"] < 6:
                pass
        seen: list[str] = []
        after = ""
        while True:
            answer = await client.get("v1/approvals", params={"limit": 2, "after": after})
            seen += [each["id"] for each in answer.json()["items"]]
            after = answer.json()["next"]
            if not after:
                break
        assert seen[0].startswith("step:one:")
        assert seen[1:] == ["q4", "q3", "q2", "q1", "q0"]
