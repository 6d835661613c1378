"""Receivers over a real connection: what they get, and whatever they answer."""

import asyncio
import logging
import random
import socket
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.alerts.delivery import Deliveries
from callboard.actors.alerts.grouping import Notification, Outcome
from callboard.actors.alerts.ports import Undelivered
from callboard.actors.alerts.routing import Receiver
from callboard.actors.alerts.states import Alert, AlertState
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import SpecError
from callboard.runtime.delivery.http import BadAnswer, endpoint, post
from callboard.runtime.delivery.targets import make_targets
from tests.thoroughness import examples

from .http_server import Server, serving, until

S: Final = 1_000_000_000
T0: Final = 1_800_000_000 * S
DEADLINE_S: Final = 10.0


def alert(name: str, state: AlertState = AlertState.FIRING, **labels: str) -> Alert:
    return Alert(
        id=f"id-{name}", rule="r", group="g",
        labels=tuple(sorted({"alertname": name, "severity": "critical", **labels}.items())),
        annotations=(("summary", f"{name} is bad"),), state=state, value=1.0, active_since_ns=T0,
        fired_at_ns=T0 + S, resolved_at_ns=0 if state is AlertState.FIRING else T0 + 61 * S,
    )  # fmt: skip


NOTIFICATION: Final = Notification(
    key="k1", receiver="r", group=(("host", "a"),), made_at_ns=T0 + 90 * S,
    alerts=(alert("Up", host="a"), alert("Down", AlertState.RESOLVED, host="a")),
)  # fmt: skip


def target(kind: str, url: str):  # type: ignore[no-untyped-def] # noqa: ANN201 - a Target
    return make_targets([Receiver("r", kind, url)])["r"]


async def test_a_webhook_gets_alertmanagers_form_and_one_key() -> None:
    async with serving() as server:
        url = f"http://me:se%20cret@127.0.0.1:{server.port}/hook?x=1"
        hook = target("webhook", url)
        await hook.deliver(NOTIFICATION)
        await hook.deliver(NOTIFICATION)
    first, second = server.got
    assert first == second
    assert first.path == "/hook?x=1"
    assert first.headers["idempotency-key"] == first.data["notificationKey"] == "k1"
    assert first.headers["authorization"] == "Basic bWU6c2UgY3JldA=="
    data = first.data
    assert (data["version"], data["status"], data["receiver"]) == ("4", "firing", "r")
    assert data["groupLabels"] == {"host": "a"}
    assert data["commonLabels"] == {"severity": "critical", "host": "a"}
    assert data["commonAnnotations"] == {}
    up, down = data["alerts"]
    assert (up["status"], down["status"]) == ("firing", "resolved")
    assert (up["startsAt"], up["endsAt"]) == ("2027-01-15T08:00:01.000Z", "0001-01-01T00:00:00Z")
    assert down["endsAt"] == "2027-01-15T08:01:01.000Z"


async def test_an_alertmanager_gets_the_body_of_its_api() -> None:
    async with serving() as server:
        await target("alertmanager", f"{server.url}/prefix/").deliver(NOTIFICATION)
    (got,) = server.got
    assert got.path == "/prefix/api/v2/alerts"
    up, down = got.data
    assert set(up) == {"labels", "annotations", "startsAt", "endsAt"}
    assert up["labels"] == {"alertname": "Up", "severity": "critical", "host": "a"}
    # It ends by itself unless it is repeated.
    assert (up["endsAt"], down["endsAt"]) == (
        "2027-01-15T08:06:30.000Z", "2027-01-15T08:01:01.000Z",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "is_final"),
    [(500, False), (503, False), (429, False), (408, False), (400, True), (404, True), (302, True),
     (b"HTTP/1.1 413 Too Large\r\n\r\nno room", True), (b"", False), (b"no HTTP\r\n\r\n", False),
     (b"HTTP/1.1 999 X\r\n\r\n", False), (b"HTTP/2 200\r\n\r\n", False), (b"\xff" * 70_000, False),
     (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000, False),
     (b"HTTP/1.1 100 X\r\n\r\n" * 20, False)],
)  # fmt: skip
async def test_what_is_no_success(answer: int | bytes, is_final: bool) -> None:
    async with serving() as server:
        server.answers = [answer]
        with pytest.raises(Undelivered) as caught:
            async with asyncio.timeout(DEADLINE_S):
                await target("webhook", server.url).deliver(NOTIFICATION)
    assert caught.value.is_final is is_final
    assert str(server.port) in caught.value.message


@pytest.mark.parametrize(
    "answer",
    [200, 202, 299, b"HTTP/1.0 200 OK\n\n", b"HTTP/1.1 100 X\r\n\r\nHTTP/1.1 204 X\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nthe rest never comes"],
)  # fmt: skip
async def test_what_is_a_success(answer: int | bytes) -> None:
    async with serving() as server:
        server.answers = [answer]
        await target("webhook", server.url).deliver(NOTIFICATION)


async def test_a_receiver_that_is_not_there() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(Undelivered, match="cannot be reached") as caught:
            await target("webhook", url).deliver(NOTIFICATION)
    assert not caught.value.is_final


async def test_a_server_that_hangs_is_left_at_the_deadline() -> None:
    async with serving() as server:
        server.answers = [None]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await target("webhook", server.url).deliver(NOTIFICATION)


@settings(max_examples=examples(200))
@given(st.binary(max_size=300), st.booleans())
def test_no_answer_breaks_the_client(answer: bytes, is_http: bool) -> None:
    async def run() -> None:
        async with serving() as server:
            server.answers = [b"HTTP/1.1 " + answer if is_http else answer]
            try:
                got = await post(endpoint(server.url), b"{}", {})
            except (BadAnswer, OSError):
                return
            assert 200 <= got.status <= 599

    asyncio.run(run())


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://a/b", "http://", "http:///x", "http://a:b/", "http://a:99999/", "http://[::1",
     "http://a/ b", "http://a/\r\nX: y", "http://\u00e4/", "https://u:secret@/x"],
)  # fmt: skip
def test_a_wrong_url_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(SpecError) as caught:
        make_targets([Receiver("r", "webhook", url)])
    assert "secret" not in str(caught.value)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SpecError, match="'pigeon'"):
        make_targets([Receiver("r", "pigeon", "http://a")])


def test_an_endpoint_shows_no_secret() -> None:
    made = endpoint("https://u:secret@[::1]/x")
    assert (made.host, made.port, made.shown) == ("::1", 443, "https://[::1]:443")
    assert "secret" not in repr(made)


async def test_the_log_has_a_line_for_each_alert(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="callboard.alerts.log"):
        await target("log", "").deliver(NOTIFICATION)
    first, second = caplog.records
    assert first.levelname == "ERROR"
    assert first.getMessage().startswith("FIRING Up: Up is bad {alertname='Up'")
    assert (second.levelname, second.getMessage()[:8]) == ("INFO", "RESOLVED")


async def test_one_server_that_hangs_and_one_that_fails_delay_no_third(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("callboard.actors.alerts.delivery.ATTEMPT_S_MAX", 0.2)
    outcomes: dict[str, Outcome] = {}
    done = asyncio.Event()

    def settle(key: str, outcome: Outcome) -> None:
        outcomes[key] = outcome
        if key == "fine-0":
            done.set()

    async with serving() as hangs, serving() as fails, serving() as fine:
        hangs.answers = [None] * 999
        fails.answers = [500] * 999
        servers: dict[str, Server] = {"hangs": hangs, "fails": fails, "fine": fine}
        targets = make_targets([Receiver(n, "webhook", s.url) for n, s in servers.items()])

        deliveries = Deliveries(
            targets, settle, random.Random(1), retry=Backoff(min_s=0.01, max_s=0.05)
        )
        outbox = [
            Notification(
                key=f"{name}-{n}", receiver=name, group=(), alerts=NOTIFICATION.alerts,
                made_at_ns=T0,
            )
            for n in range(20)
            for name in servers
        ]  # fmt: skip
        deliveries.update(outbox)
        async with asyncio.timeout(DEADLINE_S):
            await done.wait()
        assert not any(key.startswith("hangs") for key in outcomes)
        deliveries.update(each for each in outbox if each.receiver == "fails")
        await until(lambda: sum(key.startswith("fails") for key in outcomes) == 20)
        await deliveries.close()
        assert {o for key, o in outcomes.items() if key.startswith("fails")} == {Outcome.GIVEN_UP}
        assert deliveries.failing >= 1
        assert len(fails.got) == 20 * 8
