"""A hub and its clients: subscribing, resuming, slow readers, and the fate of each event."""

import asyncio
from dataclasses import replace

from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.messages import RateLimitConfig
from callboard.actors.streaming.protocol import (
    Disconnect,
    ErrorCode,
    HistoryQuery,
    Position,
    PresenceQuery,
    Publication,
    Subscribe,
    Unsubscribe,
)
from callboard.messages.control.filters import StreamFilter

from .clients import (
    Client,
    Line,
    LogSource,
    balanced,
    end_of,
    event,
    feed_of,
    following,
    joined,
    publish,
    settled,
)
from .conftest import Clock, MakeHub

SMALL = HubLimits(
    queue_bytes_max=4_000,
    queue_bytes_soft=1_000,
    held_bytes_max=1_000,
    ring_events_max=10,
    replay_events_max=10,
)


async def test_a_publication_reaches_all_subscribers_and_is_encoded_once(make_hub: MakeHub) -> None:
    hub, codec = make_hub(), Line()
    clients = [await joined(hub, "news", codec=codec) for _ in range(3)]
    publish(hub, "news", 7, 8)
    for client in clients:
        client.read()
        assert client.data["news"] == [7, 8]
    assert codec.pushes_encoded == 2
    assert hub.core.accounts().sent == 6


async def test_a_client_of_an_empty_channel_that_returns_has_missed_nothing(
    make_hub: MakeHub,
) -> None:
    """centrifugal/centrifugo#230 and socketio/socket.io#5538."""
    hub = make_hub()
    client = await joined(hub, "news")
    client.drop()
    await client.connect(hub)
    reply = await client.subscribe("news")
    assert reply["recovered"]
    assert reply["publications"] == []
    client.drop()
    publish(hub, "news", 1, 2)
    await client.connect(hub)
    assert (await client.subscribe("news"))["recovered"]
    assert client.data["news"] == [1, 2]


async def test_old_sockets_that_time_out_late_change_nothing(
    make_hub: MakeHub, clock: Clock
) -> None:
    """socketio/socket.io#4880: three reconnects while the hub still believes in the old ones."""
    hub = make_hub()
    client = await joined(hub, "news")
    old = []
    for number in range(3):
        old.append(client.session)
        await client.connect(hub)
        assert (await client.subscribe("news"))["recovered"]
        publish(hub, "news", number)
        client.read()
    for session in old:
        session.end()
    clock.advance(30)
    hub.tick()
    client.session.pong()
    publish(hub, "news", 3)
    client.read()
    assert client.data["news"] == [0, 1, 2, 3]


async def test_a_restarted_hub_resumes_journal_channels_without_loss_or_repeats(
    make_hub: MakeHub,
) -> None:
    """centrifugal/centrifugo#798."""
    log: list[Publication] = []
    source = LogSource(log)
    hub = await following(make_hub, source)
    client = await joined(hub, "events", "execution:a")
    for number in range(1, 8):
        log.append(event("execution:a" if number % 2 else "execution:b", number, offset=number))
        source.follow(feed_of(hub, source), until=number)
    client.read()
    # The hub is gone, and events come meanwhile.
    log.extend(event("execution:a", number, offset=number) for number in range(8, 12))
    source = LogSource(log)
    hub = await following(make_hub, source)
    await client.connect(hub)
    assert (await client.subscribe("events"))["recovered"]
    assert (await client.subscribe("execution:a"))["recovered"]
    assert client.data["events"] == list(range(1, 12))
    assert client.data["execution:a"] == [1, 3, 5, 7, 8, 9, 10, 11]


async def test_more_than_one_reply_holds_is_replayed_in_order_before_live_events(
    make_hub: MakeHub,
) -> None:
    log = [event("execution:a", number, offset=number) for number in range(1, 1_001)]
    source = LogSource(log)
    hub = await following(make_hub, source, limits=replace(SMALL, queue_bytes_max=100_000))
    client = Client()
    await client.connect(hub)
    client.positions["events"] = Position(0, "log-1")
    reply = await client.subscribe("events")
    assert reply["recovered"]
    assert len(reply["publications"]) == 10
    while len(client.got["events"]) < 1_000:
        log.append(event("execution:a", len(log) + 1, offset=len(log) + 1))
        source.follow(feed_of(hub, source))
        client.read()
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
        client.read()
    assert client.got["events"] == list(range(1, len(log) + 1))
    assert balanced(hub)


async def test_a_client_ahead_of_a_hub_sees_no_position_twice(make_hub: MakeHub) -> None:
    log = [event("execution:a", number, offset=number) for number in range(1, 11)]
    ahead, behind = LogSource(log), LogSource(log)
    hub = await following(make_hub, ahead)
    client = await joined(hub, "events")
    assert client.positions["events"].offset == 10
    slow = make_hub(behind)
    feed_of(slow, behind).moved(4)
    other = await joined(slow, "events")
    await client.connect(slow)
    assert (await client.subscribe("events"))["recovered"]
    log.append(event("execution:a", 11, offset=11))
    behind.follow(feed_of(slow, behind))
    client.read()
    other.read()
    assert client.got["events"] == [11]
    assert other.got["events"] == [5, 6, 7, 8, 9, 10, 11]
    assert balanced(slow)


async def test_a_position_that_the_log_has_not_reached_is_not_resumed(make_hub: MakeHub) -> None:
    source = LogSource([event("execution:a", 1, offset=1)])
    hub = await following(make_hub, source)
    client = Client()
    await client.connect(hub)
    client.positions["events"] = Position(99, "log-1")
    reply = await client.subscribe("events")
    assert not reply["recovered"]
    assert reply["was_recovering"]
    assert reply["offset"] == 1


async def test_a_gap_is_an_error_for_clients_that_want_it_so(make_hub: MakeHub) -> None:
    hub = make_hub()
    client = Client()
    await client.connect(hub)
    client.positions["news"] = Position(3, "another epoch")
    assert (await client.subscribe("news", refuses_gap=True))["code"] == 112
    assert (await client.subscribe("news"))["recovered"] is False


async def test_a_log_that_is_away_is_a_temporary_error_and_leaves_no_subscription(
    make_hub: MakeHub,
) -> None:
    source = LogSource([event("execution:a", number, offset=number) for number in range(1, 9)])
    hub = await following(make_hub, source)
    client = Client()
    await client.connect(hub)
    client.positions["events"] = Position(2, "log-1")
    source.is_away = True
    assert (await client.subscribe("events"))["code"] == ErrorCode.UNAUTHORIZED
    source.is_away = False
    assert (await client.subscribe("events"))["recovered"]
    assert client.got["events"] == [3, 4, 5, 6, 7, 8]


async def test_an_empty_log_gets_its_identity_and_nothing_is_lost(make_hub: MakeHub) -> None:
    log: list[Publication] = []
    source = LogSource(log, epoch="")
    hub = await following(make_hub, source)
    client = await joined(hub, "events")
    source.epoch = "log-1"
    log.append(event("execution:a", 1, offset=1))
    source.follow(feed_of(hub, source))
    client.read()
    assert client.pushes == [{"unsubscribed": "events", "code": 2500}]
    assert (await client.subscribe("events"))["recovered"]
    assert client.got["events"] == [1]
    assert client.positions["events"] == Position(1, "log-1")


async def test_a_stalled_reader_of_values_gets_the_newest_and_a_count(make_hub: MakeHub) -> None:
    """centrifugal/centrifuge#255."""
    hub = make_hub(limits=SMALL)
    client = await joined(hub, "gauges")
    for number in range(200):
        publish(hub, "gauges", number, key="a" if number % 2 else "b")
    assert balanced(hub)
    client.read()
    assert client.data["gauges"][-2:] == [198, 199]
    assert sorted(client.got["gauges"]) == client.got["gauges"]
    accounts = hub.core.accounts()
    assert accounts.sent == len(client.data["gauges"]) < 60
    assert accounts.conflated == 200 - accounts.sent
    assert end_of(client.session) is None


async def test_a_stalled_reader_of_a_tail_gets_the_newest_lines_and_a_count(
    make_hub: MakeHub,
) -> None:
    hub = make_hub(limits=SMALL)
    client = await joined(hub, "lines")
    publish(hub, "lines", *range(200))
    client.read()
    (dropped,) = [each for each in client.pushes if "dropped" in each]
    assert client.data["lines"][-1] == 199
    assert dropped["reason"] == "slow"
    assert dropped["count"] + len(client.data["lines"]) == 200
    assert balanced(hub)


async def test_a_stalled_reader_of_a_journal_is_cut_off_and_then_gets_everything(
    make_hub: MakeHub,
) -> None:
    """centrifugal/centrifuge#255."""
    log: list[Publication] = []
    source = LogSource(log)
    hub = await following(make_hub, source, limits=SMALL)
    client = await joined(hub, "events")
    log.extend(event("execution:a", number, offset=number) for number in range(1, 201))
    source.follow(feed_of(hub, source))
    assert end_of(client.session) == Disconnect.SLOW
    assert await client.session.take() is None
    await client.connect(hub)
    await client.subscribe("events")
    for _ in range(20):
        await asyncio.sleep(0)
        client.read()
    assert client.got["events"] == list(range(1, 201))
    assert balanced(hub)


async def test_an_event_of_a_journal_does_not_wait_for_a_reader_for_ever(
    make_hub: MakeHub, clock: Clock
) -> None:
    log = [event("execution:a", 1, offset=1)]
    source = LogSource([])
    hub = await following(make_hub, source)
    client = await joined(hub, "events", "gauges")
    publish(hub, "gauges", 1)
    clock.advance(6)
    hub.tick()
    assert end_of(client.session) is None
    source.log.extend(log)
    source.follow(feed_of(hub, source))
    clock.advance(4)
    hub.tick()
    assert end_of(client.session) is None
    clock.advance(2)
    hub.tick()
    assert end_of(client.session) == Disconnect.SLOW


async def test_filters_move_the_position_of_the_server_alone(make_hub: MakeHub) -> None:
    hub = make_hub()
    client = Client()
    await client.connect(hub)
    narrow = StreamFilter(key="level", cmp="eq", val="error")
    await client.do(Subscribe("news", filter=narrow))
    publish(hub, "news", 1, 2, level="info")
    client.read()
    assert client.positions["news"].offset == 0
    publish(hub, "news", 3, level="error")
    client.drop()
    await client.connect(hub)
    reply = await client.subscribe("news", filter=narrow)
    assert reply["recovered"]
    assert client.data["news"] == [3]
    assert balanced(hub)


async def test_a_rate_limit_counts_and_the_client_is_informed(
    make_hub: MakeHub, clock: Clock
) -> None:
    hub = make_hub()
    client = Client()
    await client.connect(hub)
    await client.do(Subscribe("news", rate_limit=RateLimitConfig(per_second=2, burst=3)))
    publish(hub, "news", *range(10))
    hub.tick()
    client.read()
    assert client.data["news"] == [0, 1, 2]
    assert client.pushes == [{"dropped": "news", "count": 7, "reason": "rate"}]
    clock.advance(1)
    publish(hub, "news", *range(10, 20))
    client.read()
    assert client.data["news"] == [0, 1, 2, 10, 11]
    assert balanced(hub)


async def test_a_rate_limit_keeps_the_newest_value_of_each_key(
    make_hub: MakeHub, clock: Clock
) -> None:
    hub = make_hub()
    client = Client()
    await client.connect(hub)
    await client.do(Subscribe("gauges", rate_limit=RateLimitConfig(per_second=1, burst=1)))
    for number in range(1, 9):
        publish(hub, "gauges", number, key="ab"[number % 2])
    client.read()
    assert client.data["gauges"] == [1]
    for expected in ([1, 7], [1, 7, 8], [1, 7, 8]):
        clock.advance(1)
        hub.tick()
        client.read()
        assert client.data["gauges"] == expected
    assert client.pushes == []
    assert balanced(hub)
    assert hub.core.accounts().conflated == 5


async def test_presence_and_joins_follow_the_clients(make_hub: MakeHub) -> None:
    hub = make_hub()
    one = Client()
    await one.connect(hub)
    await one.subscribe("room", join_leave=True)
    two = await joined(hub, "room")
    one.read()
    assert one.pushes == [{"Join": "room", "client": two.session.client}]
    assert (await one.do(PresenceQuery("room")))["reply"] == "Presence"
    await two.do(Unsubscribe("room"))
    one.read()
    assert one.pushes[-1] == {"Leave": "room", "client": two.session.client}
    assert [client.client for client in hub.core.clients(hub.core.channels["room"])] == [
        one.session.client
    ]


async def test_ten_thousand_channels_and_clients_leave_nothing_behind(
    make_hub: MakeHub, clock: Clock
) -> None:
    """socketio/socket.io#2427, and the bad input of ten thousand channels."""
    limits = replace(HubLimits(), rings_bytes_max=100_000, channels_kept_max=500)
    hub = make_hub(limits=limits)
    for number in range(10_000):
        publish(hub, f"c-{number}", number)
        assert hub.core.history_bytes <= 100_000
    assert len(hub.core.channels) <= 500
    for number in range(1_000):
        client = await joined(hub, f"d-{number}")
        client.drop()
    for _ in range(2):
        clock.advance(400)
        hub.tick()
    assert not hub.core.channels
    assert not hub.core.connections
    assert hub.core.history_bytes == 0
    assert not hub._sessions
    assert hub.core.accounts().is_balanced


async def test_an_event_of_a_megabyte_keeps_its_position_and_loses_its_payload(
    make_hub: MakeHub,
) -> None:
    source = LogSource([])
    hub = await following(make_hub, source)
    client = await joined(hub, "events")
    large = Publication("execution:a", b'{"payload":"%s","event_id":"e"}' % (b"x" * 1_000_000))
    source.log.append(replace(large, offset=1))
    source.follow(feed_of(hub, source))
    client.read()
    kept = {"payload": None, "event_id": "e", "too_large_bytes": 1_000_029}
    assert client.data["events"] == [kept]
    client.positions["events"] = Position(0, "log-1")
    client.drop()
    await client.connect(hub)
    await client.subscribe("events")
    assert client.data["events"] == [kept, kept]


async def test_history_is_read_from_the_ring_and_from_the_log(make_hub: MakeHub) -> None:
    log = [event("execution:a", number, offset=number) for number in range(1, 50)]
    source = LogSource(log)
    hub = await following(make_hub, source)
    client = await joined(hub, "news")
    publish(hub, "news", 1, 2, 3)
    client.read()
    position = client.positions["news"]
    for query in (
        HistoryQuery("news"),
        HistoryQuery("news", limit=2, since=Position(1, position.epoch)),
        HistoryQuery("news", limit=-1, reverse=True),
        HistoryQuery("events", limit=10, since=Position(5, "log-1")),
    ):
        assert (await client.do(query))["reply"] == "HistoryPage"
    gone = HistoryQuery("news", limit=1, since=Position(1, "another"))
    assert (await client.do(gone))["code"] == ErrorCode.UNRECOVERABLE_POSITION


async def test_a_stopped_hub_sends_all_clients_away(make_hub: MakeHub) -> None:
    hub = make_hub()
    client = await joined(hub, "news")
    waiting = asyncio.ensure_future(client.session.take())
    await settled()
    await hub.stop()
    assert await waiting is None
    assert end_of(client.session) == Disconnect.SHUTDOWN
    late = hub.open(Line(), "x")
    assert end_of(late) is not None


async def test_frames_join_what_waits_up_to_a_size(make_hub: MakeHub) -> None:
    hub = make_hub()
    client = await joined(hub, "news")
    publish(hub, "news", *range(10))
    frames = []
    while frame := client.session.take_now(100):
        frames.append(frame)
    assert len(frames) > 3
    assert sum(frame.count(b"\n") + 1 for frame in frames) == 10
    assert hub.core.connections[client.session.client].out.size_bytes == 0


async def test_a_clock_that_jumps_cuts_nobody_wrongly(make_hub: MakeHub, clock: Clock) -> None:
    hub = make_hub()
    client = await joined(hub, "news")
    clock.wall_s -= 10**8
    hub.tick()
    clock.wall_s += 10**9
    hub.tick()
    assert end_of(client.session) is None
    publish(hub, "news", 1)
    client.read()
    assert client.data["news"] == [1]
