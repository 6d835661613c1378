"""The partial results of one run: from its attempts to those who look on.

Each attempt may have `STEP_WINDOW` of them under way. Once a turn of the run has taken one, its
agent may send the next. So a run that is behind slows its agents, and one that looks on never does.

With `Streams.JOURNAL` they are published, and their agents go on, once they are durable.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError

from .call import TaskCall
from .history.streamed import StreamedPartial

if TYPE_CHECKING:
    from ..kernel.host.host import Host
    from .collector import Collector
    from .history.recorder import Recorder

__all__ = ["Partial", "Partials"]

PARTIALS_PER_TURN: Final = 2_048
"""About 20 ms of work; more wait for the next turn, and so do the outcomes behind them."""


class Partial(NamedTuple):
    """A partial result of an attempt."""

    call: TaskCall
    number: int
    """Its place among those of its attempt, from 1."""
    value: Contract


class Partials:
    """Takes, journals and publishes the partial results of one run.

    `publish` gets the sub-task, attempt, number and value of each. With a `recorder` they are
    journalled first.
    """

    def __init__(
        self,
        host: "Host",
        collector: "Collector",
        publish: Callable[[str, int, int, Contract], None],
        recorder: "Recorder | None",
    ) -> None:
        self._host: Final = host
        self._collector: Final = collector
        self._publish: Final = publish
        self._recorder: Final = recorder
        self._waiting: deque[Partial] = deque()
        self._held: list[Partial] = []
        """Those of this turn that are not durable yet."""

    def add(self, partial: Partial) -> None:
        """Take one of an attempt, for the next turn."""
        self._waiting.append(partial)

    def take(self, index_of: Callable[[str], int]) -> bool:
        """In a turn: journal or publish those that have come. False if more of them wait."""
        waiting, recorder = self._waiting, self._recorder
        if not waiting:
            return True
        if recorder is not None and not recorder.has_room:
            return False
        taken = [waiting.popleft() for _ in range(min(len(waiting), PARTIALS_PER_TURN))]
        if recorder is None:
            self.publish(taken)
            return not waiting
        rows: list[StreamedPartial] = []
        for partial in taken:
            call = partial.call
            try:
                packed = recorder.packed_partial(partial.value)
            except CallboardError as error:
                if not call.is_over:
                    self._host.stop_call(call, error)
                continue
            index = index_of(call.sub_task.id)
            rows.append(StreamedPartial(index, call.attempt, partial.number, packed))
            self._held.append(partial)
        recorder.streamed(rows)
        return not waiting

    def held(self) -> list[Partial]:
        """Those of this turn that its append makes durable; then `publish` gets them."""
        held, self._held = self._held, []
        return held

    def publish(self, partials: Sequence[Partial]) -> None:
        """Give them to those who look on, and let their agents go on."""
        granted: Counter[TaskCall] = Counter()
        for call, number, value in partials:
            task_id, attempt = call.sub_task.id, call.attempt
            self._collector.take_partial(task_id, attempt, value)
            self._publish(task_id, attempt, number, value)
            granted[call] += 1
        for call, count in granted.items():
            if not call.is_over and not call.is_cancelled:
                self._host.grant(call, count)
