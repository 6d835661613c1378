"""The side of a target: an actor that is bound to a component, and reads `ctx.config`.

    class Reviewer(Configured):
        component = "reviewer"
        settings = ReviewerSettings          # a contract; without it, the plain content

        @handler
        async def review(self, request: ReviewFile, ctx: Context) -> Findings:
            limit = ctx.config.settings.findings_max

An instance may set `self.component` in its constructor. `on_config` may look at a snapshot before
it counts, and raise to refuse it; it runs between messages.
"""

import contextlib
import hashlib
import inspect
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ValidationError

from callboard.messages.core.errors import AskError

from ...kernel.actor import Actor, handler
from ...kernel.context import Context
from ...kernel.snapshot import Snapshot
from .messages import ConfigurationTaken, JoinConfiguration, TakeConfiguration

__all__ = ["Configured", "frozen", "read_settings", "refusal_of", "version_of"]

START_S: Final = 5.0
REFUSAL_CHARS_MAX: Final = 1_000


class Configured(Actor):
    """An actor with a configuration. A subclass with a `started` of its own awaits this one's."""

    component: str = ""
    """The component that it is bound to."""
    settings: ClassVar[type[BaseModel] | None] = None
    """The frozen class of its settings; a content that does not fit is refused."""
    offered: Snapshot | None = None
    """What the distributor has put down for it."""

    async def on_config(self, snapshot: Snapshot | None) -> None:
        """Look at the next snapshot, between two messages; raise an exception to refuse it.

        None means that there is no configuration any more.
        """

    async def started(self, ctx: Context) -> None:
        """Begin with the configuration that this actor should have, or without one after 5 s."""
        address = ctx.self_ref.address
        request = JoinConfiguration(cell=address.cell)
        with contextlib.suppress(AskError):  # It is better to start than to have the newest.
            await ctx.ask(request, ctx.host_ref(address.slot), timeout_s=2 * START_S)

    @handler
    async def take_configuration(self, request: TakeConfiguration) -> ConfigurationTaken:
        """Let the hook look at the snapshot. The distributor makes it count."""
        return ConfigurationTaken(refusal=await refusal_of(self, self.offered))


async def refusal_of(actor: Configured, snapshot: Snapshot | None) -> str:
    """Why the hook refuses a snapshot; empty if it does not."""
    try:
        looked = actor.on_config(snapshot)
        if inspect.isawaitable(looked):  # A subclass may have a plain method.
            await looked
    except Exception as error:  # noqa: BLE001 - whatever it is, the actor has refused
        return f"{type(error).__name__}: {error}"[:REFUSAL_CHARS_MAX]
    return ""


def version_of(content: bytes) -> str:
    """The version of a component with this content."""
    return hashlib.sha256(content).hexdigest()


def read_settings(kind: type[BaseModel] | None, content: bytes) -> Any:
    """The settings of a snapshot. Raises `ValueError` for a content that does not fit."""
    if kind is not None:
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            places = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems[:5])
            raise ValueError(f"{kind.__qualname__}: {'; '.join(places)}") from None
    try:
        return frozen(json.loads(content))
    except (ValueError, RecursionError):
        return content.decode("utf-8", "replace")


def frozen(value: Any) -> Any:
    """The same value, which nobody can change."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: frozen(each) for key, each in value.items()})
    if isinstance(value, list):
        return tuple(frozen(each) for each in value)
    return value
