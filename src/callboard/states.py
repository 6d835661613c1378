"""The states of executions and agents: kept, cached, and changed by known transitions."""

from callboard.actors.state.states import AgentStateManager
from callboard.messages.execution import StateTransitionTrigger
from callboard.messages.state import AgentExecutionState, AgentStateChanged, IntermediateResult
from callboard.messages.storage import StateRow
from callboard.runtime.durable import open_states

__all__ = [
    "AgentExecutionState",
    "AgentStateChanged",
    "AgentStateManager",
    "IntermediateResult",
    "StateRow",
    "StateTransitionTrigger",
    "open_states",
]
