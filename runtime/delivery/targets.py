"""The targets of notifications: one class for each kind of receiver."""

import datetime as dt
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from callboard.actors.alerts.durations import NS
from callboard.actors.alerts.grouping import Notification
from callboard.actors.alerts.ports import Target, Undelivered
from callboard.actors.alerts.routing import ALERTMANAGER_S, Receiver, ReceiverKind
from callboard.actors.alerts.states import Alert, AlertState
from callboard.messages.core.errors import SpecError

from .http import Answer, BadAnswer, Endpoint, endpoint, post

__all__ = ["AlertmanagerTarget", "LogTarget", "WebhookTarget", "make_targets"]

LOGGER: Final = logging.getLogger("callboard.alerts.log")
ALERTMANAGER_PATH: Final = "/api/v2/alerts"
AGAIN: Final = frozenset({408, 425, 429})
"""Statuses below 500 after which another attempt may help."""
LEVELS: Final = {"critical": logging.ERROR, "warning": logging.WARNING}
FIRING_INTERVALS: Final = 5
"""Repetitions of an alert that an Alertmanager may miss before the alert ends there."""
NEVER: Final = "0001-01-01T00:00:00Z"
"""What Alertmanager's webhook has as the end of an alert that fires."""


class LogTarget:
    """Writes each alert as a line of the log `callboard.alerts.log`."""

    async def deliver(self, notification: Notification) -> None:
        """See `Target`."""
        for alert in notification.alerts:
            is_firing = alert.state is AlertState.FIRING
            level = LEVELS.get(alert.severity, logging.INFO) if is_firing else logging.INFO
            texts = dict(alert.annotations)
            text = texts.get("summary") or texts.get("description") or ""
            labels = ", ".join(f"{name}={value!r}" for name, value in alert.labels)
            LOGGER.log(
                level,
                "%s %s%s {%s}",
                "FIRING" if is_firing else "RESOLVED",
                alert.name,
                f": {text}" if text else "",
                labels,
            )


class WebhookTarget:
    """Posts each notification as JSON, in the form of Alertmanager's webhook (version 4).

    The header `Idempotency-Key` is the same for all attempts of a notification, and so is the
    field `notificationKey`.
    """

    def __init__(self, place: Endpoint) -> None:
        self._place: Final = place

    async def deliver(self, notification: Notification) -> None:
        """See `Target`."""
        body = json.dumps(_webhook_data(notification)).encode()
        await _send(self._place, body, {"Idempotency-Key": notification.key})


class AlertmanagerTarget:
    """Posts alerts to an Alertmanager, by its API v2; see `ALERTMANAGER_S`.

    Alertmanager groups, silences and routes by itself.
    """

    def __init__(self, place: Endpoint) -> None:
        self._place: Final = place

    async def deliver(self, notification: Notification) -> None:
        """See `Target`."""
        body = json.dumps(_alertmanager_data(notification)).encode()
        await _send(self._place, body, {"Idempotency-Key": notification.key})


def make_targets(receivers: Iterable[Receiver]) -> dict[str, Target]:
    """A target for each receiver, by its name. Raises `SpecError` for a wrong URL or kind."""
    made: dict[str, Target] = {}
    for receiver in receivers:
        match receiver.kind:
            case ReceiverKind.LOG:
                made[receiver.name] = LogTarget()
            case ReceiverKind.WEBHOOK:
                made[receiver.name] = WebhookTarget(endpoint(receiver.url))
            case ReceiverKind.ALERTMANAGER:
                place = endpoint(receiver.url, path=ALERTMANAGER_PATH)
                made[receiver.name] = AlertmanagerTarget(place)
            case _:
                raise SpecError(
                    f"the receiver {receiver.name!r} has the kind {receiver.kind!r}.",
                    advice="Kinds are log, webhook and alertmanager.",
                    field="kind",
                )
    return made


async def _send(place: Endpoint, body: bytes, headers: Mapping[str, str]) -> None:
    try:
        answer: Answer = await post(place, body, headers)
    except (OSError, BadAnswer) as error:
        raise Undelivered(f"{place.shown} cannot be reached: {error}") from None
    if 200 <= answer.status < 300:
        return
    raise Undelivered(
        f"{place.shown} answers {answer.status}: {answer.text}",
        is_final=answer.status < 500 and answer.status not in AGAIN,
    )


def _time(time_ns: int) -> str:
    at = dt.datetime.fromtimestamp(time_ns / NS, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _webhook_data(notification: Notification) -> dict[str, Any]:
    return {
        "version": "4",
        "groupKey": f"{notification.receiver}:{json.dumps(dict(notification.group))}",
        "notificationKey": notification.key,
        "truncatedAlerts": notification.left_off,
        "status": "firing" if notification.is_firing else "resolved",
        "receiver": notification.receiver,
        "groupLabels": dict(notification.group),
        "commonLabels": _shared([alert.labels for alert in notification.alerts]),
        "commonAnnotations": _shared([alert.annotations for alert in notification.alerts]),
        "externalURL": "",
        "alerts": [_webhook_alert(alert) for alert in notification.alerts],
    }


def _webhook_alert(alert: Alert) -> dict[str, Any]:
    is_firing = alert.state is AlertState.FIRING
    return {
        "status": "firing" if is_firing else "resolved",
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": _time(alert.fired_at_ns),
        "endsAt": NEVER if is_firing else _time(alert.resolved_at_ns),
        "generatorURL": "",
        "fingerprint": alert.id,
    }


def _alertmanager_data(notification: Notification) -> list[dict[str, Any]]:
    # An alert that is not repeated has ended there: so none stays when Callboard is gone.
    firing_until_ns = notification.made_at_ns + FIRING_INTERVALS * round(ALERTMANAGER_S * NS)
    return [
        {
            "labels": dict(alert.labels),
            "annotations": dict(alert.annotations),
            "startsAt": _time(alert.fired_at_ns),
            "endsAt": _time(
                firing_until_ns if alert.state is AlertState.FIRING else alert.resolved_at_ns
            ),
        }
        for alert in notification.alerts
    ]


def _shared(mappings: Iterable[Iterable[tuple[str, str]]]) -> dict[str, str]:
    """The pairs that all of them have."""
    pairs = [set(mapping) for mapping in mappings]
    return dict(sorted(set.intersection(*pairs))) if pairs else {}
