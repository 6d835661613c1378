"""Checks of new children: each refusal says what to do about it."""

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
                f"The supervisor has not started yet, so it cannot add child {child_id!r}.",
                advice="Start the supervisor first, or pass the child to its constructor.",
            )
        case SupervisorState.STOPPING | SupervisorState.STOPPED:
            raise ActorStopped(
                f"The supervisor is {state} and does not start child {child_id!r}.",
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
            advice="Set SupervisorSpec.auto_shutdown, or leave the child's significant unset.",
            field="ChildSpec.significant",
        )
    check_room(supervisor, child_id, len(children))


def check_room(supervisor: SupervisorSpec, child_id: ChildId, children: int) -> None:
    """Check that one child fits next to `children` others. Raises UsageError."""
    if children >= supervisor.children_max:
        raise UsageError(
            f"The supervisor has {supervisor.children_max} children, the most it may have "
            f"(children_max): there is no room for {child_id!r}.",
            advice="Raise SupervisorSpec.children_max, or use several supervisors.",
            children_max=supervisor.children_max,
        )
