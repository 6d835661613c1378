"""Deliberate defects of restarted roots and of their drivers."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from callboard.actors.kernel.host.host import Host
from callboard.runtime.control_plane.adoption import _Adoption
from callboard.runtime.control_plane.authority import AuthorityCore, Standing
from callboard.runtime.control_plane.records import Records
from callboard.runtime.detached.attached_driver import AttachedDriver
from callboard.runtime.detached.attached_drivers import AttachedDrivers
from callboard.runtime.detached.detached_root import DetachedRoot

from ..mutation import Mutation

__all__ = ["DETACHED"]


def _answered_before_it_is_written(_right: Any) -> Any:
    async def record_spawn(self: Any, request: Any, placed: Any, answer: Any) -> None:
        self.remember(request.token, [batch.first for _, batch in placed], answer)

    return record_spawn


def _token_forgotten(right: Any) -> Any:
    async def ask_until(self: Any, request: Any, deadline_s: float) -> Any:
        if hasattr(request, "token"):
            request = request.model_copy(update={"token": ""})
        return await right(self, request, deadline_s)

    return ask_until


def _half_started_left(_right: Any) -> Any:
    async def reconcile(_self: Any, _one: Any) -> None:
        """Leave running actors as they are."""

    return reconcile


def _living_hosts_ended(right: Any) -> Any:
    async def take(self: Any, name: str, kept: Any, answer_s: float) -> Any:
        found = await right(self, name, kept, answer_s)
        if found is not None and found.slot.number % 2:
            await found.process.kill()
            return None
        return found

    return take


def _heartbeats_ignored(_right: Any) -> Any:
    def heard(self: Any, slot: int) -> None:
        if self.is_known(slot):
            self._heard_s[slot] = self._control.now()

    return heard


def _asks_of_the_dead_go_on(right: Any) -> Any:
    def forget(self: Any, slot: int, error: Any) -> None:
        self.link(slot).receiver.asks = {}
        right(self, slot, error)

    return forget


def _stays_without_being_ready(_right: Any) -> Any:
    async def has_to_stop(_self: Any, *, within_s: float) -> bool:
        return bool(within_s)

    return has_to_stop


def _always_held(_right: Any) -> Any:
    def standing(self: Any, now: float) -> Standing:
        return Standing.WAITING if now < self.acts_from_s else Standing.HELD

    return standing


def _waits_for_no_root(right: Any) -> Any:
    def begin(self: Any, claimed_s: float, **_options: Any) -> None:
        right(self, claimed_s, is_alone=True)

    return begin


DETACHED: Final[Mapping[str, Mutation]] = MappingProxyType(
    {
        "answered_before_it_is_written": Mutation(
            "a driver gets references to actors without records",
            Records, "record_spawn", _answered_before_it_is_written, "detached",
        ),
        "token_forgotten": Mutation(
            "a repeated request for a start is not recognised",
            AttachedDriver, "_ask_until", _token_forgotten, "detached",
        ),
        "half_started_left": Mutation(
            "actors that were half started when the root died stay",
            _Adoption, "_reconcile", _half_started_left, "detached",
        ),
        "living_hosts_ended": Mutation(
            "a restarted root ends living hosts",
            _Adoption, "_take", _living_hosts_ended, "detached",
        ),
        "heartbeats_ignored": Mutation(
            "heartbeats of a driver that has not joined again are ignored",
            AttachedDrivers, "heard", _heartbeats_ignored, "detached", first_seed=190,
        ),
        "asks_of_the_dead_go_on": Mutation(
            "handlers of a dead driver's asks continue",
            Host, "forget", _asks_of_the_dead_go_on, "detached",
        ),
        "stays_without_being_ready": Mutation(
            "a root that cannot take over its hosts stays up",
            DetachedRoot, "_has_to_stop", _stays_without_being_ready, "detached",
        ),
        "authority_never_ends": Mutation(
            "a root that is cut off acts on next to its successor",
            AuthorityCore, "standing", _always_held, "authority",
        ),
        "waits_for_no_root": Mutation(
            "a root acts at once, though an earlier one may still act",
            AuthorityCore, "__init__", _waits_for_no_root, "authority",
        ),
    }
)  # fmt: skip
"""The defects by name."""
