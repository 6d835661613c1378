"""The channels `alerts` and `letters`: what actors are notified of, for clients.

The alert manager and the root notify an actor. So each source starts one on the hub's host, and
asks again from time to time: the alert manager or the root may have started again meanwhile.
"""

import asyncio
import contextlib
import json
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, Protocol

from callboard.actors.alerts.messages import AlertChanged, AlertView, FollowAlerts, QueryAlerts
from callboard.actors.kernel.actor import Actor, OnError, Overflow, handler
from callboard.actors.kernel.props import props
from callboard.actors.kernel.spawnable import Spawnable
from callboard.actors.streaming.live import LiveSource
from callboard.actors.streaming.messages import ChannelKind
from callboard.actors.streaming.ports import Feed
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.control.spawning import SubscribeAllDeadLetters
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Ref

from .encoding import publication_of
from .system import Ask

__all__ = ["ALERTS", "LETTERS", "AlertsSource", "LettersSource", "Spawns"]

ALERTS: Final = "alerts"
LETTERS: Final = "letters"
ASK_AGAIN_S: Final = 10.0
RETRY_S: Final = 1.0
ALERTS_SHOWN_MAX: Final = 500
RECENT_MAX: Final = 200


class Spawns(Protocol):
    """Starts and stops actors on the hub's host: its `Context`."""

    async def spawn(self, actor: Spawnable[Any]) -> Ref[Any]:
        """See `Context.spawn`."""

    async def stop_child(self, child: Ref[Any]) -> None:
        """See `Context.stop_child`."""


class Listener(Actor):
    """Gives notices to a source in the same process."""

    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST
    on_error: ClassVar[OnError] = OnError.RESUME

    def __init__(self, take: Callable[[Any], None]) -> None:
        self._take = take

    @handler
    async def alert(self, message: AlertChanged) -> None:
        """An alert has made a step."""
        self._take(message)

    @handler
    async def letter(self, message: DeadLetter) -> None:
        """A message was not handled."""
        self._take(message)


async def listen(
    spawns: Spawns, take: Callable[[Any], None], follow: Callable[[Ref[Any]], Awaitable[None]]
) -> None:
    """Give notices to `take` until cancelled; `follow` asks for them, for an actor."""
    listener = await spawns.spawn(props(Listener, take))
    try:
        while True:
            wait_s = RETRY_S
            with contextlib.suppress(CallboardError, TimeoutError):
                await follow(listener)
                wait_s = ASK_AGAIN_S
            await asyncio.sleep(wait_s)
    finally:
        with contextlib.suppress(CallboardError):
            await spawns.stop_child(listener)


class AlertsSource(LiveSource):
    """The `ChannelSource` of `alerts`: the newest state of each alert.

    `ask` reaches the alert manager. The snapshot has its alerts, those that fire first.
    """

    def __init__(
        self, ask: Ask, spawns: Spawns, *, wall_time: Callable[[], float] = time.time
    ) -> None:
        self._ask: Final = ask
        self._spawns: Final = spawns
        self._wall_time: Final = wall_time
        self._alerts: dict[str, dict[str, Any]] = {}
        self._recent: Final[deque[AlertChanged]] = deque(maxlen=RECENT_MAX)
        """The last notices, which may be newer than an answer that comes after them."""
        self._feed: Feed | None = None

    def kind_of(self, channel: str) -> ChannelKind | None:
        """See `ChannelSource`."""
        return ChannelKind.NEWEST if channel == ALERTS else None

    async def run(self, feed: Feed) -> None:
        """See `ChannelSource`."""

        def take(notice: AlertChanged) -> None:
            self._recent.append(notice)
            self._note(feed, notice.alert, notice.state, notice.at, notice.before)

        async def follow(listener: Ref[Any]) -> None:
            await self._ask(FollowAlerts(follower=listener))
            await self._read(feed)  # What has changed before this was not notified.

        self._feed = feed
        await listen(self._spawns, take, follow)

    def _note(self, feed: Feed, alert: AlertView, state: str, at: float, before: str = "") -> None:
        plain = alert.model_dump(mode="json")
        if state:
            self._alerts[alert.id] = plain
        else:
            self._alerts.pop(alert.id, None)
        publication = publication_of(
            ALERTS,
            "alert.changed",
            {"id": alert.id, "at": at, "before": before, "state": state, "alert": plain},
            event_id=uuid.uuid4().hex,
            timestamp=at,
            source=f"alerts/{alert.group}/{alert.name}",
            tags={"alert": alert.name, "state": state, "severity": alert.severity},
            key=alert.id,
        )
        feed.publish(ALERTS, publication)

    async def _read(self, feed: Feed) -> None:
        """Ask for all alerts, and publish those that are not as they were known."""
        view = await self._ask(QueryAlerts())
        newer = {notice.alert.id for notice in self._recent if notice.at > view.at}
        states = {alert.id: alert.state for alert in view.alerts}
        for alert in view.alerts:
            known = self._alerts.get(alert.id, {}).get("state", "")
            if alert.id not in newer and known != alert.state:
                self._note(feed, alert, alert.state, view.at, known)
        unseen = frozenset() if view.left_off else self._alerts.keys() - states.keys() - newer
        for gone in unseen:
            alert = AlertView.model_validate(self._alerts[gone])
            self._note(feed, alert, "", view.at, alert.state)

    async def open(self, channel: str) -> None:
        """See `ChannelSource`. Without an alert manager there are no alerts."""
        if self._feed is not None:
            with contextlib.suppress(CallboardError, TimeoutError):
                await self._read(self._feed)

    def snapshot(self, channel: str) -> bytes:
        """See `ChannelSource`."""
        shown = list(self._alerts.values())[:ALERTS_SHOWN_MAX]
        return json.dumps({"alerts": shown, "is_cut": len(shown) < len(self._alerts)}).encode()


class LettersSource(LiveSource):
    """The `ChannelSource` of `letters`: messages that no handler got, on any host.

    `ask` reaches the root.
    """

    def __init__(
        self, ask: Ask, spawns: Spawns, *, wall_time: Callable[[], float] = time.time
    ) -> None:
        self._ask: Final = ask
        self._spawns: Final = spawns
        self._wall_time: Final = wall_time

    def kind_of(self, channel: str) -> ChannelKind | None:
        """See `ChannelSource`."""
        return ChannelKind.TAIL if channel == LETTERS else None

    async def run(self, feed: Feed) -> None:
        """See `ChannelSource`."""

        def take(letter: DeadLetter) -> None:
            publication = publication_of(
                LETTERS,
                "message.not_handled",
                letter.model_dump(mode="json"),
                event_id=uuid.uuid4().hex,
                timestamp=self._wall_time(),
                source=letter.host,
                tags={"reason": letter.reason, "host": letter.host, "contract": letter.contract},
            )
            feed.publish(LETTERS, publication)

        async def follow(listener: Ref[Any]) -> None:
            await self._ask(SubscribeAllDeadLetters(subscriber=listener))

        await listen(self._spawns, take, follow)
