"""Which alerts nobody is notified of: those that are silenced, and those that others inhibit.

The labels of an alert do not change. So which silences cover it, and on which sides of which
inhibitions it is, is found once for each alert.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from .matching import accepts, value_of
from .routing import Inhibition
from .silences import Silence
from .states import Alert, AlertState

__all__ = ["Muting", "View"]


class View(NamedTuple):
    """One alert, and why nobody is notified of it."""

    alert: Alert
    silenced_by: str
    """The id of a silence; empty without one."""
    is_inhibited: bool

    @property
    def is_muted(self) -> bool:
        """Whether nobody is notified."""
        return bool(self.silenced_by) or self.is_inhibited


class _Role(NamedTuple):
    """The part of an alert in one inhibition."""

    is_source: bool
    is_target: bool
    values: tuple[str, ...]
    """Of the labels that have to be equal."""


class Muting:
    """See the module. `silences` are those that count now; `changed` says that they differ."""

    def __init__(self, inhibitions: Iterable[Inhibition], silences: Mapping[str, Silence]) -> None:
        self._inhibitions: Final = tuple(inhibitions)
        self._silences: Final = silences
        self._covering: Final[dict[str, tuple[str, ...]]] = {}
        """For each alert the silences that cover it, at whatever time."""
        self._roles: Final[dict[str, tuple[_Role, ...]]] = {}

    def changed(self) -> None:
        """A silence is new, or was changed."""
        self._covering.clear()

    def keep(self, alerts: Collection[str]) -> None:
        """Forget all other alerts."""
        for known in (self._covering, self._roles):
            for key in [key for key in known if key not in alerts]:
                del known[key]

    def views(self, alerts: Iterable[Alert], now_ns: int) -> list[View]:
        """All alerts, and why nobody is notified of some."""
        alerts = tuple(alerts)
        active = {each.id for each in self._silences.values() if each.is_active(now_ns)}
        plain, both = self._sources(alerts)
        return [
            View(
                alert,
                next((name for name in self._silences_of(alert) if name in active), "")
                if active
                else "",
                self._is_inhibited(alert, plain, both),
            )
            for alert in alerts
        ]

    def _silences_of(self, alert: Alert) -> tuple[str, ...]:
        found = self._covering.get(alert.id)
        if found is None:
            found = self._covering[alert.id] = tuple(
                each.id for each in self._silences.values() if accepts(each.matchers, alert.labels)
            )
        return found

    def _roles_of(self, alert: Alert) -> tuple[_Role, ...]:
        found = self._roles.get(alert.id)
        if found is None:
            found = self._roles[alert.id] = tuple(
                _Role(
                    accepts(each.source, alert.labels),
                    accepts(each.target, alert.labels),
                    tuple(value_of(alert.labels, name) for name in each.equal),
                )
                for each in self._inhibitions
            )
        return found

    def _sources(
        self, alerts: Iterable[Alert]
    ) -> tuple[list[set[tuple[str, ...]]], list[set[tuple[str, ...]]]]:
        """For each inhibition the values of sources that fire.

        First of those that are no targets, then of those that are targets too.
        """
        plain: list[set[tuple[str, ...]]] = [set() for _ in self._inhibitions]
        both: list[set[tuple[str, ...]]] = [set() for _ in self._inhibitions]
        for alert in alerts if self._inhibitions else ():
            if alert.state is AlertState.FIRING:
                for number, role in enumerate(self._roles_of(alert)):
                    if role.is_source:
                        (both if role.is_target else plain)[number].add(role.values)
        return plain, both

    def _is_inhibited(
        self,
        alert: Alert,
        plain: list[set[tuple[str, ...]]],
        both: list[set[tuple[str, ...]]],
    ) -> bool:
        """An alert that is source and target is not inhibited by another one that is both.

        So it never inhibits itself.
        """
        if not any(plain) and not any(both):
            return False
        return any(
            role.is_target
            and (
                role.values in plain[number] or (not role.is_source and role.values in both[number])
            )
            for number, role in enumerate(self._roles_of(alert))
        )
