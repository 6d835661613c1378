"""The routes that act: submissions, commands, events; each act has its principal."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

import callboard as cb
from callboard.messages.control.principals import Scope

from .api_world import Maker, World, api_world


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with api_world(tmp_path) as world:
        yield world


async def test_a_submission_runs_once_however_often_it_is_sent(world: World) -> None:
    body = {"job": "making", "fields": {"steps": 2}}
    key = {"idempotency-key": "order 7"}
    async with world.client() as client, world.client(subject="bob") as other:
        (job,) = (await client.get("v1/jobs")).json()["items"]
        assert (job["name"], job["contract"]) == ("making", "api.ordered")
        first = await client.post("v1/executions", json=body, headers=key)
        assert (first.status_code, first.json()["is_new"]) == (201, True)
        again = await client.post("v1/executions", json=body, headers=key)
        assert again.status_code == 200
        assert again.json() == first.json() | {"is_new": False}
        of_other = await other.post("v1/executions", json=body, headers=key)
        assert of_other.json()["id"] != first.json()["id"]
        path = f"v1/executions/{first.json()['id']}/result"
        result = (await client.get(path, params={"wait_s": 10})).json()
        assert (result["status"], result["result"]) == ("completed", [{"number": 0}, {"number": 1}])
        assert (await client.get(path)).json() == result, "an ended one gives it once more"
        changed = {"job": "making", "fields": {"steps": 3}}
        refused = await client.post("v1/executions", json=changed, headers=key)
        assert (refused.status_code, refused.json()["code"]) == (409, "execution_id_taken")


async def test_a_wrong_submission_is_refused_with_its_fields(world: World) -> None:
    async with world.client() as client:
        for body, status in (
            ({"job": "none"}, 404),
            ({"job": "making", "fields": {"steps": "many"}}, 422),
            ({"job": "making", "fields": {"other": 1}}, 422),
            ({"job": "making", "id": ":reserved"}, 400),
            ({"job": "making", "id": "a\nb"}, 400),
            ({}, 422),
        ):
            answer = await client.post("v1/executions", json=body)
            assert answer.status_code == status, (body, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
        both = {"job": "making", "id": "x"}
        answer = await client.post("v1/executions", json=both, headers={"idempotency-key": "k"})
        assert answer.status_code == 400


async def test_a_cancellation_has_its_principal_in_the_journal(world: World) -> None:
    Maker.hangs = True
    async with world.client(subject="ada") as client:
        made = await client.post("v1/executions", json={"job": "making", "id": "hangs"})
        assert made.status_code == 201
        view = await client.get("v1/executions/hangs")
        assert view.json()["status"] in {"pending", "running"}
        stale = await client.post(
            "v1/executions/hangs/cancel", headers={"if-match": '"1-abc-running"'}
        )
        assert (stale.status_code, stale.json()["code"]) == (412, "stale")
        done = await client.post("v1/executions/hangs/cancel")
        assert done.json()["is_running"]
        result = await client.get("v1/executions/hangs/result", params={"wait_s": 10})
        assert result.json()["error"]["details"] == {"by": "ada"}
        view = await client.get("v1/executions/hangs")
        assert view.json()["transitions"][-1]["by"] == "ada"
        over = await client.post("v1/executions/hangs/cancel")
        assert over.status_code == 400


async def test_a_fork_shares_results_and_is_resumed(world: World) -> None:
    await world.run("one")
    async with world.client(subject="ada") as client:
        tag = (await client.get("v1/executions/one")).headers["etag"]
        made = await client.post(
            "v1/executions/one/fork",
            json={"step": "step-1", "id": "two"},
            headers={"if-match": tag},
        )
        assert (made.status_code, made.json()["shared"]) == (201, 1)
        view = (await client.get("v1/executions/two")).json()
        assert (view["status"], view["fork_of"]) == ("interrupted", "one")
        assert "callboard resume" in view["waits_for"]
        events = (await client.get("v1/executions/two/events")).json()["items"]
        assert events[0]["fields"]["by"] == "ada"
        assert (await client.post("v1/executions/two/resume")).status_code == 200
        result = await client.get("v1/executions/two/result", params={"wait_s": 10})
        assert result.json()["status"] == "completed"
        assert (await client.post("v1/executions/none/resume")).status_code == 404
        doubt = {"step": "step-0", "runs_again": True}
        assert (await client.post("v1/executions/one/approve", json=doubt)).status_code == 400


async def test_each_scope_opens_its_routes_and_no_other(world: World) -> None:
    await world.run("one")
    cases = (
        ("GET", "v1/system", None, Scope.READ),
        ("GET", "v1/executions/one", None, Scope.READ),
        ("GET", "v1/connections", None, Scope.READ),
        ("GET", "api/v1/labels", None, Scope.READ),
        ("POST", "v1/executions", {"job": "none"}, Scope.SUBMIT),
        ("POST", "v1/executions/none/cancel", None, Scope.STEER),
        ("POST", "v1/executions/none/resume", None, Scope.STEER),
        ("POST", "v1/executions/none/fork", {"step": "a"}, Scope.STEER),
        ("POST", "v1/pipelines/p/resume", None, Scope.STEER),
        (
            "POST",
            "v1/executions/none/approve",
            {"step": "a", "runs_again": True},
            Scope.APPROVE,
        ),
        ("POST", "v1/events", {"channel": "c", "event_type": "t"}, Scope.PUBLISH),
        ("POST", "v1/metrics", None, Scope.PUBLISH),
        ("POST", "v1/alerts/silences", {"matchers": ["a=b"]}, Scope.ALERTS),
        ("DELETE", "v1/alerts/silences/x", None, Scope.ALERTS),
        ("GET", "v1/tokens", None, Scope.ADMIN),
        ("POST", "v1/tokens", {"subject": "eve"}, Scope.ADMIN),
        ("DELETE", "v1/tokens/none", None, Scope.ADMIN),
    )
    for scope in Scope:
        async with world.client(scope, publishes=("c",)) as client:
            for method, path, body, needed in cases:
                answer = await client.request(method, path, json=body)
                assert (answer.status_code == 403) == (scope is not needed), (scope, path)


async def test_an_event_goes_to_its_channel_with_who_has_sent_it(world: World) -> None:
    body = {"channel": "orders", "event_type": "order.placed", "payload": {"n": 1}, "event_id": "e"}
    async with world.client(Scope.PUBLISH, publishes=("orders",)) as client:
        answer = await client.post("v1/events", json=body)
        assert (answer.status_code, answer.json()) == (
            202,
            {"event_id": "e", "channel": "orders", "is_durable": True},
        )
        ((message, principal),) = world.published
        assert (message.channel, message.event.payload) == ("orders", {"n": 1})
        assert (message.event.source, principal.subject) == ("ada", "ada")
        other = await client.post("v1/events", json=body | {"channel": "Orders"})
        assert other.status_code == 403
        large = await client.post("v1/events", json=body | {"payload": "x" * 70_000})
        assert large.status_code == 413


async def test_a_line_of_the_admin_api_has_the_scopes_of_its_token(world: World) -> None:
    line = (
        '{"admin": 1, "request": "callboard.cancel_execution", "version": 1, '
        '"fields": {"execution_id": "one"}}'
    )
    async with world.client(Scope.READ) as client:
        answer = await client.post("v1/admin", content=line)
        assert answer.json()["error"]["code"] == "access_denied"
        wrong = await client.post("v1/admin", content=b"\xff")
        assert wrong.json()["error"]["code"] == "usage"
    assert isinstance(world.system, cb.System)
