"""Stored states: those of earlier releases are read, and new ones keep their types."""

import datetime as dt
from typing import Any, Final

from callboard.messages.jobs.execution import ExecutionStatus, StateTransitionTrigger
from callboard.messages.jobs.updates import ExecutionMetrics, ExecutionPhase, StateChanged
from callboard.messages.storage.states import (
    AgentExecutionState,
    IntermediateResult,
    StateCodec,
    version_of,
)
from tests.messages.core.drawn import differences

WRITER: Final = b"w" * 16

STORED_AT_FE1730E: Final = bytes.fromhex(
    "00000000000000070000000100ddc0d1ad5538dc777777777777777777777777777777778fac657865637574696f"
    "6e5f6964a178a86167656e745f6964a161a77461736b5f6964a174a6737461747573a772756e6e696e67aa737461"
    "72745f74696d65b9323032342d30312d30325430333a30343a30352b30303a3030ad63757272656e745f70686173"
    "65aa76616c69646174696e67a7636f6e7465787482a16b920181a161c0a174920102b4696e7465726d6564696174"
    "655f726573756c74739183a77461736b5f6964a170a576616c756581a1769101a974696d657374616d70cb3ff800"
    "0000000000a76d65747269637389a97375625f7461736b7302a4646f6e6501a66661696c656400a8617474656d70"
    "747301a77265747269657300a874696d656f75747300ab686f73745f6c6f7373657300a772756e6e696e6701a965"
    "6c61707365645f73cb3fe0000000000000ac646570656e64656e6369657390a8656e645f74696d65b9323032342d"
    "30312d30325430333a30343a30362b30303a3030ab7472616e736974696f6e739186ac657865637574696f6e5f69"
    "64a178ab66726f6d5f737461747573a770656e64696e67a2746fa772756e6e696e67a974696d657374616d70cb3f"
    "f0000000000000a774726967676572a97375626d6974746564a86d6574616461746181a16d01a56572726f7281a4"
    "636f6465a165af6a6f75726e616c5f76657273696f6e03a776657273696f6e07"
)
"""A state as the codec of that commit wrote it: times as texts, enums as values."""


def state_with(context: dict[str, Any]) -> AgentExecutionState:
    """The state in those bytes, with another context."""
    return AgentExecutionState(
        execution_id="x",
        agent_id="a",
        task_id="t",
        status=ExecutionStatus.RUNNING,
        start_time=dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        end_time=dt.datetime(2024, 1, 2, 3, 4, 6, tzinfo=dt.UTC),
        current_phase=ExecutionPhase.VALIDATING,
        context=context,
        intermediate_results=(IntermediateResult(task_id="p", value={"v": [1]}, timestamp=1.5),),
        metrics=ExecutionMetrics(
            sub_tasks=2, done=1, failed=0, attempts=1, retries=0, timeouts=0, host_losses=0,
            running=1, elapsed_s=0.5,
        ),
        transitions=(
            StateChanged(
                execution_id="x",
                from_status=ExecutionStatus.PENDING,
                to=ExecutionStatus.RUNNING,
                timestamp=1.0,
                trigger=StateTransitionTrigger.SUBMITTED,
                metadata={"m": 1},
            ),
        ),
        error={"code": "e"},
        journal_version=3,
        version=7,
    )  # fmt: skip


def test_state_that_an_earlier_release_stored_is_read() -> None:
    found = StateCodec().decode(STORED_AT_FE1730E)
    assert found == state_with({"k": [1, {"a": None}], "t": [1, 2]})
    assert version_of(STORED_AT_FE1730E) == 7


def test_stored_state_keeps_the_types_of_its_values() -> None:
    context = {"t": (1, {2}), "at": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "l": [b"x", 1.5]}
    state = state_with(context)
    codec = StateCodec()
    data = codec.encode(state, WRITER)
    assert not differences(state, codec.decode(data))
    assert codec.encode(codec.decode(data), WRITER) == data
