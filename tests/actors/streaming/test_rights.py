"""Who may do what with a hub: tokens, rights, limits and commands without end."""

from dataclasses import replace
from typing import Any

import pytest

from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.protocol import (
    Connect,
    Disconnect,
    ErrorCode,
    HistoryQuery,
    PresenceQuery,
    PublishCommand,
    Refresh,
    Rpc,
    Send,
    SubRefresh,
    Subscribe,
    Unsubscribe,
)
from callboard.messages.control.filters import StreamFilter
from callboard.messages.control.principals import Principal

from .clients import PRINCIPAL, Client, Line, Tokens, end_of, joined, publish
from .conftest import Clock, MakeHub


@pytest.mark.parametrize(
    ("token", "code"), [("bad", Disconnect.INVALID_TOKEN), ("old", None)], ids=["bad", "expired"]
)
async def test_a_refused_connect_ends_all(
    make_hub: MakeHub, token: str, code: Disconnect | None
) -> None:
    hub = make_hub()
    client = Client(token=token)
    await client.connect(hub)
    assert await client.subscribe("news") == {}
    assert not hub.core.channels
    if code is None:
        assert client.replies[1]["code"] == ErrorCode.TOKEN_EXPIRED
    else:
        assert end_of(client.session) == code


@pytest.mark.parametrize("command", [Subscribe("news"), Send(b"1"), Rpc("m"), Refresh("good")])
async def test_the_first_command_is_connect(make_hub: MakeHub, command: Any) -> None:
    hub = make_hub()
    session = hub.open(Line(), "127.0.0.1")
    await session.handle(1, command)
    assert end_of(session) == Disconnect.BAD_REQUEST


async def test_a_second_connect_and_an_unasked_pong_end_the_connection(make_hub: MakeHub) -> None:
    hub = make_hub()
    client = await joined(hub)
    await client.do(Connect(token="good"))
    assert end_of(client.session) is not None
    other = await joined(hub)
    other.session.pong()
    assert end_of(other.session) is not None


async def test_a_client_that_does_not_connect_or_answer_pings_is_ended(
    make_hub: MakeHub, clock: Clock
) -> None:
    hub = make_hub()
    silent = hub.open(Line(), "127.0.0.1")
    client = await joined(hub, "news")
    clock.advance(6)
    hub.tick()
    assert end_of(silent) == Disconnect.STALE
    clock.advance(20)
    hub.tick()
    client.read()
    assert client.pings == 1
    clock.advance(9)
    hub.tick()
    client.session.pong()
    clock.advance(26)
    hub.tick()
    clock.advance(11)
    hub.tick()
    assert end_of(client.session) == Disconnect.NO_PONG


async def test_a_token_that_expires_may_be_refreshed(make_hub: MakeHub, clock: Clock) -> None:
    short = PRINCIPAL.model_copy(update={"expires_at": clock.wall() + 60})
    longer = PRINCIPAL.model_copy(update={"expires_at": clock.wall() + 600})
    tokens = Tokens({"good": short, "longer": longer})
    hub = make_hub(tokens=tokens)
    one, two = await joined(hub), await joined(hub)
    clock.advance(70)
    assert (await one.do(Refresh("longer")))["reply"] == "Refreshed"
    clock.advance(20)
    hub.tick()
    assert end_of(one.session) is None
    assert end_of(two.session) == Disconnect.EXPIRED


async def test_a_refreshed_token_with_fewer_rights_ends_subscriptions(make_hub: MakeHub) -> None:
    less = PRINCIPAL.model_copy(update={"channels": ("news",)})
    another = PRINCIPAL.model_copy(update={"subject": "eve"})
    hub = make_hub(tokens=Tokens({"good": PRINCIPAL, "less": less, "another": another}))
    client = await joined(hub, "news", "secret")
    assert (await client.do(Refresh("another")))["code"] == ErrorCode.PERMISSION_DENIED
    await client.do(Refresh("less"))
    assert client.pushes == [{"unsubscribed": "secret", "code": 2100}]
    publish(hub, "secret", 1)
    publish(hub, "news", 1)
    client.read()
    assert client.data == {"news": [1]}


async def test_a_revoked_token_ends_its_connections(make_hub: MakeHub) -> None:
    tokens = Tokens()
    hub = make_hub(tokens=tokens)
    client = await joined(hub, "news")
    await hub.revoke()
    assert end_of(client.session) is None
    tokens.revoked_ids.add("t-1")
    await hub.revoke()
    assert end_of(client.session) == Disconnect.INVALID_TOKEN


async def test_a_subscription_of_a_token_ends_with_it(make_hub: MakeHub, clock: Clock) -> None:
    tokens = Tokens()
    tokens.ends["s"] = clock.wall() + 10
    hub = make_hub(tokens=tokens, limits=replace(HubLimits(), ping_s=1_000.0))
    client = await joined(hub)
    assert (await client.do(Subscribe("news", token="x")))["code"] == ErrorCode.UNAUTHORIZED
    await client.do(Subscribe("news", token="s"))
    tokens.ends["s"] = clock.wall() + 50
    await client.do(SubRefresh("news", "s"))
    clock.advance(60)
    hub.tick()
    clock.advance(20)
    hub.tick()
    client.read()
    assert client.pushes == [{"unsubscribed": "news", "code": 2501}]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (Subscribe("secret"), ErrorCode.PERMISSION_DENIED),
        (Subscribe("news*"), ErrorCode.PERMISSION_DENIED),
        (Subscribe("nеws"), ErrorCode.PERMISSION_DENIED),  # noqa: RUF001 - a look-alike
        (PresenceQuery("secret"), ErrorCode.PERMISSION_DENIED),
        (HistoryQuery("secret", limit=-1), ErrorCode.PERMISSION_DENIED),
        (PublishCommand("news", b"1"), ErrorCode.PERMISSION_DENIED),
        (Subscribe(""), ErrorCode.BAD_REQUEST),
        (Subscribe("n" * 256), ErrorCode.BAD_REQUEST),
        (Subscribe("news\n"), ErrorCode.BAD_REQUEST),
        (Subscribe("news", is_other_type=True), ErrorCode.NOT_AVAILABLE),
        (Subscribe("news", filter=StreamFilter(op="xor")), ErrorCode.BAD_REQUEST),
        (Rpc("missing"), ErrorCode.METHOD_NOT_FOUND),
        (SubRefresh("news", "s"), ErrorCode.BAD_REQUEST),
    ],
)
async def test_what_a_client_may_not_do_is_refused(
    make_hub: MakeHub, command: Any, code: ErrorCode
) -> None:
    narrow = Principal(subject="eve", way="http", channels=("news",))
    hub = make_hub(tokens=Tokens({"good": narrow}))
    client = await joined(hub)
    assert (await client.do(command))["code"] == code
    assert end_of(client.session) is None


async def test_system_channels_are_not_published_to_and_exist_only_with_a_source(
    make_hub: MakeHub,
) -> None:
    hub = make_hub()
    client = await joined(hub)
    for channel in ("alerts", "metrics:cpu", "logs:a"):
        denied = await client.do(PublishCommand(channel, b"1"))
        assert denied["code"] == ErrorCode.PERMISSION_DENIED
    for channel in ("alerts", "metrics:cpu"):
        assert (await client.subscribe(channel))["code"] == ErrorCode.UNKNOWN_CHANNEL
    assert (await client.subscribe("logs:a"))["reply"] == "Subscribed"


async def test_a_client_publishes_json_of_a_bounded_size(make_hub: MakeHub) -> None:
    hub = make_hub()
    client, other = await joined(hub), await joined(hub, "room")
    assert (await client.do(PublishCommand("room", b"{")))["code"] == ErrorCode.BAD_REQUEST
    nested = b"[" * 40_000
    assert (await client.do(PublishCommand("room", nested)))["code"] == ErrorCode.BAD_REQUEST
    large = b'"%s"' % (b"x" * 70_000)
    assert (await client.do(PublishCommand("room", large)))["code"] == ErrorCode.LIMIT_EXCEEDED
    assert "code" not in await client.do(PublishCommand("room", b"[1]"))
    other.read()
    assert other.data["room"] == [[1]]


async def test_commands_without_end_are_refused_and_then_end_the_connection(
    make_hub: MakeHub, clock: Clock
) -> None:
    hub = make_hub(limits=replace(HubLimits(), commands_burst=10, refused_max=5))
    client = await joined(hub)
    for _ in range(9):
        await client.do(Unsubscribe("x"))
    assert (await client.do(Unsubscribe("x")))["code"] == ErrorCode.TOO_MANY_REQUESTS
    clock.advance(1)
    assert "code" not in await client.do(Unsubscribe("x"))
    for _ in range(20):
        await client.do(Unsubscribe("x"))
    assert end_of(client.session) == Disconnect.TOO_MANY_REQUESTS


async def test_limits_of_channels_and_connections(make_hub: MakeHub) -> None:
    limits = replace(HubLimits(), channels_max=3, user_connections_max=2, connections_max=3)
    hub = make_hub(limits=limits)
    client = await joined(hub, "a", "b", "c")
    assert (await client.subscribe("a"))["code"] == ErrorCode.ALREADY_SUBSCRIBED
    assert (await client.subscribe("d"))["code"] in {
        ErrorCode.LIMIT_EXCEEDED, ErrorCode.ALREADY_SUBSCRIBED,
    }  # fmt: skip
    await joined(hub)
    third = await joined(hub)
    assert end_of(third.session) == Disconnect.CONNECTION_LIMIT
    hub.open(Line(), "x")
    assert hub.is_full
