"""Roll-outs of configuration: the actor that keeps and performs them.

async with callboard.start() as system:
    await start_rollouts(system, store="rollouts.db")
"""

import functools
from typing import Any, Protocol

from callboard.actors.configuration.rollout.controller import (
    CONTROLLER,
    RolloutController,
    Validator,
)
from callboard.actors.configuration.rollout.plan import ApprovalPolicy
from callboard.actors.kernel.props import props
from callboard.messages.control.placement import Placement
from callboard.messages.control.spec import Restart
from callboard.messages.core.ref import Ref

from ..hosting.settings import Settings
from ..stores.choose import event_store, path_of
from .metrics import Starts, on_this_machine

__all__ = ["start_rollouts"]


class RollingOut(Starts, Protocol):
    """What the start of roll-outs needs of a `System`."""

    @property
    def settings(self) -> Settings:
        """See `System.settings`."""


async def start_rollouts(
    system: RollingOut,
    *,
    store: str,
    policy: ApprovalPolicy | None = None,
    validate: Validator | None = None,
    host: int | str | None = None,
) -> Ref[RolloutController]:
    """Start the actor `callboard.configuration`, supervised, which performs roll-outs.

    `store` is the URL of an event store of its own. `policy` says which packages need a second
    principal, and `validate` gives the problems of a package. Without a `host`, the actor runs on
    the machine of this driver if its store is a file. The next system with the same store goes on.

    Raises `SpecError` for a wrong URL, `NameTaken` when the system has the actor already, and
    `ActorStartFailed` when the store refuses to open.
    """
    make_store = functools.partial(event_store, store, durability=system.settings.durability)
    make_store()  # Refuse a wrong URL here, not on a host.
    if host is None and path_of(store) is not None:
        placement = await on_this_machine(system)
    else:
        placement = Placement(host)
    controller: Any = props(RolloutController, make_store, policy, validate)
    ref: Ref[RolloutController] = await system.spawn(
        controller, name=CONTROLLER, offer=True, placement=placement, restart=Restart.PERMANENT
    )
    return ref
