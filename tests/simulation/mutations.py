"""Deliberate defects of the kernel: the simulator must find each of them.

Each replaces one method inside a `with` block:

    with MUTATIONS["dedupe_skipped"].applied():
        assert run_seed("links", links, seed).broken
"""

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from callboard.actors.executions.history.events import MovedWriter
from callboard.actors.executions.history.recorder import Recorder
from callboard.actors.executions.run import PlanRun
from callboard.actors.journal.journal import Journal
from callboard.actors.kernel.asks import AskFuture
from callboard.actors.kernel.directory.registry import Directory
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.lifecycle.termination import Termination
from callboard.actors.kernel.link.core import LinkCore
from callboard.actors.kernel.link.flow_control import FlowControl
from callboard.actors.kernel.link.link import Link
from callboard.actors.kernel.link.outbox import Outbox
from callboard.actors.kernel.link.queue import MessageQueue
from callboard.actors.kernel.link.receiver import FrameReceiver
from callboard.actors.keyed.region import KeyRegion
from callboard.actors.scheduler.core import SchedulerCore
from callboard.actors.scheduler.effects import TaskDone
from callboard.messages.control.spec import Restart
from callboard.messages.storage.events import ANY, Append
from callboard.runtime.executions.executions import Executions
from callboard.supervisors import decisions
from callboard.supervisors.policies import RestartWindow
from callboard.supervisors.sequence import Sequence

from .approval_mutations import APPROVALS
from .detached.mutations import DETACHED
from .lease_mutations import LEASES
from .mutation import Mutation
from .partial_mutations import PARTIALS
from .pipeline_mutations import PIPELINES
from .rollout_mutations import ROLLOUTS
from .stream_mutations import STREAMS
from .tier_mutations import TIERS
from .window_mutations import WINDOWS

__all__ = ["MUTATIONS"]


def _dedupe_skipped(right: Any) -> Any:
    def receive(self: Any, sequence: int, frame: Any) -> Any:
        if sequence <= self.received:
            return iter((frame,))
        return right(self, sequence, frame)

    return receive


def _order_forgotten(_right: Any) -> Any:
    def receive(self: Any, sequence: int, frame: Any) -> Any:
        if sequence <= self.received:
            return iter(())
        self.received = sequence
        return iter((frame,))

    return receive


def _one_restart_too_many(_right: Any) -> Any:
    def admit(self: Any, now: float) -> bool:
        times_s = self._times_s
        while times_s and times_s[0] < now - self._intensity.period_s:
            times_s.popleft()
        full = len(times_s) > self._intensity.restarts
        times_s.append(now)
        return not full

    return admit


def _credit_lost(right: Any) -> Any:
    def return_credit(self: Any, count: int) -> None:
        right(self, count if count < 3 else count - 1)

    return return_credit


def _credit_ignored(_right: Any) -> Any:
    def may_write(self: Any) -> bool:
        return bool(self.is_open and len(self._sealed) < self._sealed_max)

    return may_write


def _asks_not_lost(_right: Any) -> Any:
    def fail_lost_asks(self: Any, slot: int, error: Any) -> None:
        """Let them wait for their deadlines."""

    return fail_lost_asks


def _stops_in_start_order(right: Any) -> Any:
    def shutdown(members: Any, ending: Any) -> Any:
        return right(list(reversed(members)), ending)

    return shutdown


def _sent_again_under_a_new_number(_right: Any) -> Any:
    def resend(self: Any) -> None:
        for number, frame in list(self.core.unacknowledged.items()):
            del self.core.unacknowledged[number]
            data = _renumbered(self, frame, self.core.sequence + 1)
            renewed = frame._replace(data=data, sent_s=self.host.now())
            again = self.core.number(renewed)
            self._in_flight += 1
            self.host.run_task(self._carry(renewed, again, self.epoch))

    return resend


def _renumbered(link: Any, frame: Any, number: int) -> bytes:
    from callboard.messages.core.frame import FrameWriter, Kind, decode_frame

    old, writer = decode_frame(frame.data), FrameWriter()
    for key in old.contracts:
        writer.contract(key)
    start = 0
    for envelope in old.envelopes:
        if envelope.kind == Kind.PART:
            end = start + envelope.budget_ms
            writer.add_part(envelope.correlation, envelope.target, old.parts[start:end])
            start = end
        else:
            writer.add(*envelope[:8], step=envelope.step, value=envelope.value)
    return writer.finish(link._header(number))


def _backlog_turned_over(_right: Any) -> Any:
    def put_first(self: Any, queue: Any) -> None:
        self.extendleft(queue)
        self.tells += queue.tells

    return put_first


def _temporary_children_restarted(right: Any) -> Any:
    def restarts_after(restart: Restart, *args: Any) -> Any:
        kind = Restart.PERMANENT if restart is Restart.TEMPORARY else restart
        return right(kind, *args)

    return restarts_after


def _directory_not_replaced(right: Any) -> Any:
    def replace(self: Any, version: int, *args: Any) -> Any:
        return right(self, version, *args) if version < 4 else None

    return replace


def _deadlines_ignored(_right: Any) -> Any:
    def expired(self: Any) -> None:
        """Continue to wait."""

    return expired


def _replies_to_the_lost(right: Any) -> Any:
    def fail(self: Any, correlation: int, error: Any) -> None:
        if type(error).__name__ == "HandlerFailed":
            error.details["may_have_run"] = False
        right(self, correlation, error)

    return fail


def _result_taken_twice(right: Any) -> Any:
    def tasks_done(self: Any, reports: Any, now: float) -> None:
        known = list(reports)
        right(self, known, now)
        again = [TaskDone(*report) for report in known if report[1] > 1]
        self._flow.effects.extend(again)

    return tasks_done


def _mailbox_thrown_away(right: Any) -> Any:
    def actor_failed(self: Any, cell: Any, failure: Any) -> None:
        if cell.mailbox:
            cell.mailbox = deque()
        right(self, cell, failure)

    return actor_failed


def _pause_ignored(_right: Any) -> Any:
    def hold(self: Any, _cell: Any, _message: Any) -> None:
        self._core.admitted += 1

    return hold


def _pause_of_a_key_kept(right: Any) -> Any:
    def resume(self: Any, target: int, flow_key: Any) -> Any:
        return None if flow_key.field else right(self, target, flow_key)

    return resume


def _key_never_full(_right: Any) -> Any:
    def _is_over(_self: Any, _key: str) -> bool:
        return False

    return _is_over


def _old_frames_accepted(_right: Any) -> Any:
    def mark_lost(self: Any, epoch: int, error: Any) -> None:
        if epoch == self.epoch and self.carrier is not None:
            self.host.fail_lost_asks(self.slot, error)
            self.carrier = None

    return mark_lost


def _collected_before_the_commit(_right: Any) -> Any:
    def take(self: Any, done: Any, now: float) -> None:
        self._collector.take(done, self.core)
        for task_id, attempt, _ in done:
            if self._recorder is not None:
                self._recorder.done(self.core.numbers[task_id], task_id, attempt, now)

    return take


def _done_row_forgotten(right: Any) -> Any:
    def restore_done(self: Any, rows: Any) -> Any:
        return right(self, list(rows)[:-1])

    return restore_done


def _version_not_expected(right: Any) -> Any:
    def submit(self: Any, append: Any, done: Any) -> None:
        right(self, append._replace(expected=ANY), done)

    return submit


def _row_not_written(right: Any) -> Any:
    def event(self: Any, at: float) -> Any:
        if len(self._done) > 1:
            self._done.pop()
        return right(self, at)

    return event


def _end_not_awaited(_right: Any) -> Any:
    async def settled(self: Any) -> None:
        if self.failure is not None:
            raise self.failure

    return settled


class _FollowingNothing:
    """A journal whose appends do not name the append before them."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal

    def submit(self, append: Append, done: Any) -> None:
        self._journal.submit(append._replace(follows=b""), done)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


def _not_silenced(_right: Any) -> Any:
    async def silence(self: Any, execution_id: str) -> bool:
        for recorder in self._recorders.get(execution_id, ()):
            recorder._journal = _FollowingNothing(recorder._journal)
        return False

    return silence


MUTATIONS: Final[Mapping[str, Mutation]] = MappingProxyType(
    {
        "dedupe_skipped": Mutation(
            "a repeated frame is delivered again", LinkCore, "receive", _dedupe_skipped, "links"
        ),
        "order_forgotten": Mutation(
            "frames are delivered as they arrive", LinkCore, "receive", _order_forgotten, "links"
        ),
        "one_restart_too_many": Mutation(
            "the restart window allows one restart too many",
            RestartWindow, "admit", _one_restart_too_many, "supervision",
        ),
        "credit_lost": Mutation(
            "a delivered message returns no credit",
            FrameReceiver,
            "return_credit",
            _credit_lost,
            "links",
        ),
        "credit_ignored": Mutation(
            "messages are sent without credit", Outbox, "_may_write", _credit_ignored, "links"
        ),
        "control_unbounded": Mutation(
            "the control plane sends without credit",
            Outbox, "_may_write_control", lambda _: lambda self: self._sender.is_connected, "links",
        ),
        "asks_not_lost": Mutation(
            "asks to a dead host still wait", Host, "fail_lost_asks", _asks_not_lost, "failover"
        ),
        "stops_in_start_order": Mutation(
            "a supervisor stops its oldest child first",
            Sequence, "shutdown", _stops_in_start_order, "supervision",
        ),
        "sent_again_under_a_new_number": Mutation(
            "a frame gets a new number when it is sent again",
            Link, "_resend", _sent_again_under_a_new_number, "links",
        ),
        "backlog_turned_over": Mutation(
            "messages that waited for a mailbox are sent in reverse",
            MessageQueue, "put_first", _backlog_turned_over, "links",
        ),
        "temporary_children_restarted": Mutation(
            "a temporary child is restarted",
            decisions, "restarts_after", _temporary_children_restarted, "supervision",
        ),
        "directory_not_replaced": Mutation(
            "hosts ignore newer directories",
            Directory, "replace", _directory_not_replaced, "failover",
        ),
        "deadlines_ignored": Mutation(
            "an asker waits beyond its deadline", AskFuture, "expired", _deadlines_ignored
        ),
        "result_taken_twice": Mutation(
            "the result of a second attempt is committed twice",
            SchedulerCore, "tasks_done", _result_taken_twice, "execution",
        ),
        "mailbox_thrown_away": Mutation(
            "a failed actor's mailbox is lost",
            Termination,
            "actor_failed",
            _mailbox_thrown_away,
            "links",
        ),
        "pause_ignored": Mutation(
            "a full mailbox takes more messages", FrameReceiver, "hold", _pause_ignored, "links"
        ),
        "pause_of_a_key_kept": Mutation(
            "a sender that waits for a full key never learns that there is room",
            FlowControl, "resume", _pause_of_a_key_kept, "keyed",
        ),
        "key_never_full": Mutation(
            "a key that is not active takes more messages",
            KeyRegion, "_is_over", _key_never_full, "keyed",
        ),
        "link_not_reset": Mutation(
            "a lost link keeps the numbers of the dead host",
            Link, "mark_lost", _old_frames_accepted, "keyed",
        ),
        "lies_about_having_run": Mutation(
            "the error of a failed handler says that it has not run",
            FrameReceiver, "fail", _replies_to_the_lost,
        ),
        "collected_before_the_commit": Mutation(
            "a result is collected before it is durable",
            PlanRun, "_take", _collected_before_the_commit, "durable",
        ),
        "done_row_forgotten": Mutation(
            "a resume forgets a sub-task that is done",
            SchedulerCore, "restore_done", _done_row_forgotten, "durable",
        ),
        "version_not_expected": Mutation(
            "an owner appends without checking the version",
            Journal, "submit", _version_not_expected, "durable",
        ),
        "row_not_written": Mutation(
            "the last of several results of one turn is not journalled",
            MovedWriter, "event", _row_not_written, "durable",
        ),
        "old_owner_goes_on": Mutation(
            "an owner still writes after the next owner has begun",
            Executions, "_silence", _not_silenced, "durable", first_seed=250,
        ),
        "end_not_awaited": Mutation(
            "a result is delivered before its end is written",
            Recorder, "settled", _end_not_awaited, "durable",
        ),
        **DETACHED,
        **LEASES,
        **TIERS,
        **ROLLOUTS,
        **WINDOWS,
        **PIPELINES,
        **PARTIALS,
        **STREAMS,
        **APPROVALS,
    }
)  # fmt: skip
"""The defects by name."""
