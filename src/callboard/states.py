"""The states of executions and agents: stored, cached, and changed by known transitions."""

from callboard.actors.state.states import AgentStateManager, StateStatistics
from callboard.messages.jobs.execution import StateTransitionTrigger
from callboard.messages.storage.states import (
    AgentExecutionState,
    AgentStateChanged,
    IntermediateResult,
)
from callboard.messages.storage.stores import StateRow
from callboard.runtime.api.storage import open_states

__all__ = [
    "AgentExecutionState",
    "AgentStateChanged",
    "AgentStateManager",
    "IntermediateResult",
    "StateRow",
    "StateStatistics",
    "StateTransitionTrigger",
    "open_states",
]
