"""Which children a supervisor takes: the refusals, each with what to do about it."""

from collections.abc import Container, Sized
from typing import Protocol, assert_never

from callboard.messages.control.spec import AutoShutdown, ChildId, ChildSpec, SupervisorSpec
from callboard.messages.core.errors import ActorStopped, SpecError, UsageError

from .views import SupervisorState

__all__ = ["check_accepts", "check_fits", "check_room"]


class _Children(Container[ChildId], Sized, Protocol):
    """The ids in use."""


def check_accepts(state: SupervisorState, child_id: ChildId) -> None:
    """Check that a supervisor in this state starts children at all.

    Raises UsageError before its start, ActorStopped from its stop on.
    """
    match state:
        case SupervisorState.STARTING | SupervisorState.RUNNING:
            return
        case SupervisorState.NEW:
            raise UsageError(
                f"Child {child_id!r} came before the supervisor's start.",
                advice="Start the supervisor first, or give it the child when it is made.",
            )
        case SupervisorState.STOPPING | SupervisorState.STOPPED:
            raise ActorStopped(
                f"The supervisor is {state} and starts no child {child_id!r}.",
                may_have_run=False,
            )
        case _:
            assert_never(state)


def check_fits(
    supervisor: SupervisorSpec, spec: ChildSpec, child_id: ChildId, children: _Children
) -> None:
    """Check that one more child fits. Raises SpecError, or UsageError when it is full."""
    if child_id in children:
        raise SpecError(
            f"ChildSpec.id {child_id!r} is in use in this supervisor.",
            advice="Remove that child first, or choose another id.",
            field="ChildSpec.id",
        )
    if spec.significant and supervisor.auto_shutdown is AutoShutdown.NEVER:
        raise SpecError(
            f"ChildSpec.significant is set for {child_id!r}, but auto_shutdown is never.",
            advice="Set SupervisorSpec.auto_shutdown, or let the child not be significant.",
            field="ChildSpec.significant",
        )
    check_room(supervisor, child_id, len(children))


def check_room(supervisor: SupervisorSpec, child_id: ChildId, children: int) -> None:
    """Check that there is room for this child beside so many. Raises UsageError."""
    if children >= supervisor.children_max:
        raise UsageError(
            f"The supervisor has its {supervisor.children_max} children (children_max); "
            f"there is no room for {child_id!r}.",
            advice="Raise SupervisorSpec.children_max, or spread them over supervisors.",
            children_max=supervisor.children_max,
        )
