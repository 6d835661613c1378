"""The invariants: each is a function, whose name and first sentence describe it.

They inspect the kernel from outside and keep their own counts. `message_log` checks messages and
asks, and `supervision_checker` checks supervisors, because they see a breach when it happens; the
sentences of those invariants are in `SEEN`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol, final

from callboard.actors.kernel.actor import Actor
from callboard.actors.kernel.cell import Cell, Lifecycle
from callboard.actors.kernel.directory.routing import text_hash
from callboard.actors.kernel.flow_key import WHOLE_CELL, FlowKey
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.link.link import Link
from callboard.actors.kernel.ports import Children
from callboard.actors.keyed.activation import Activation
from callboard.actors.trees.supervisor_cell import SupervisorCell
from callboard.messages.control.control_plane import CONTROL_CELL, CONTROL_SLOT, is_driver_slot
from callboard.runtime.testing.system import SimulatedSystem
from callboard.runtime.testing.world import World

from .message_log import MessageLog
from .supervision_checker import CheckedSupervisor

__all__ = [
    "AFTER_EACH_STEP",
    "AT_REST",
    "AT_THE_END",
    "SEEN",
    "WHEN_DOWN",
    "CheckedRun",
    "Invariant",
    "links_are_well",
    "sentence_of",
]

UNACKNOWLEDGED_MAX: Final = 512
"""Frames without acknowledgement: replies and control frames need no credit."""
OVERDUE_S: Final = 0.3
BUCKET_S: Final = 0.005


class CheckedRun(Protocol):
    """What the invariants need of a run."""

    @property
    def ours(self) -> frozenset[type[Actor]]:
        """The actors that must have a supervisor."""

    @property
    def world(self) -> World:
        """The world of the run."""

    @property
    def simulated(self) -> SimulatedSystem:
        """The system under test."""

    @property
    def message_log(self) -> MessageLog:
        """The messages and asks of the run."""

    @property
    def permanent(self) -> set[str]:
        """Receivers that no activity stops, as `slot/cell`."""

    @property
    def abandoned(self) -> set[int]:
        """Asks whose asker has died."""

    def living(self) -> Iterator[Host]:
        """The hosts of all slots, the control host, and those of attached drivers."""


@final
@dataclass(frozen=True, slots=True)
class Invariant:
    """One invariant; `check` describes a breach, or gives None."""

    name: str
    sentence: str
    check: Callable[..., str | None]


def _of(*checks: Callable[..., str | None]) -> tuple[Invariant, ...]:
    return tuple(
        Invariant(check.__name__, (check.__doc__ or "").partition("\n")[0], check)
        for check in checks
    )


# --- after each step: of the process that took it -------------------------------------------


def credit_kept(host: Host) -> str | None:
    """No host sends more than its peer has granted, apart from the control plane's reserve."""
    for link in host.links.values():
        core = link.core
        if core.sent > core.granted + host.limits.link_control_credit:
            return f"{_link(host, link)}: {core.sent} sent, {core.granted} granted"
    return None


def no_credit_lost(host: Host) -> str | None:
    """The frames that a link has yet to send hold exactly the credit that is set aside for them."""
    for link in host.links.values():
        if not link.outbox.credit_is_whole:
            return f"{_link(host, link)}: {link.outbox._credit_sealed} credit is set aside"
    return None


def link_queues_bounded(host: Host) -> str | None:
    """Each queue of a link stays within its bound."""
    limits = host.limits
    for link in host.links.values():
        core = link.core
        if len(core.unacknowledged) > UNACKNOWLEDGED_MAX:
            return f"{_link(host, link)}: {len(core.unacknowledged)} frames unacknowledged"
        if len(core._ahead) > limits.reorder_frames_max:
            return f"{_link(host, link)}: {len(core._ahead)} frames ahead"
        if link.outbox._backlog.tells > limits.link_backlog_max:
            return f"{_link(host, link)}: {link.outbox.waiting} messages wait"
    return None


def links_are_well(host: Host) -> bool:
    """Whether all invariants of `AFTER_EACH_STEP` hold: a fast check of them all."""
    limits = host.limits
    for link in host.links.values():
        core = link.core
        if (
            core.sent > core.granted + limits.link_control_credit
            or not link.outbox.credit_is_whole
            or len(core.unacknowledged) > UNACKNOWLEDGED_MAX
            or len(core._ahead) > limits.reorder_frames_max
            or link.outbox._backlog.tells > limits.link_backlog_max
        ):
            return False
    return True


# --- at rest: when the process has nothing more to do for the moment -------------------------


def large_messages_in_order(_run: CheckedRun, host: Host) -> str | None:
    """The large messages of a link, and the messages behind them, keep their own invariants."""
    for link in host.links.values():
        link.outbox._transfers.validate_state()
    return None


def mailboxes_bounded(_run: CheckedRun, host: Host) -> str | None:
    """A mailbox holds no more than its size, except messages whose senders wait."""
    for cell in host.cells.values():
        mailbox = cell.mailbox
        if mailbox is None or len(mailbox) <= cell.behaviour.mailbox_messages:
            continue
        place = (cell.id, WHOLE_CELL)
        if isinstance(cell, Activation):
            flow_key = FlowKey(cell.region.plan.actor.key, text_hash(cell.key))
            place = (cell.region.id, flow_key)
        held = sum(link.receiver.held.get(place, 0) for link in host.links.values())
        held += sum(map(_left_behind, host.links.values()))
        asks = sum(hasattr(item, "sink") for item in mailbox)
        if len(mailbox) > cell.behaviour.mailbox_messages + held + asks:
            return f"{cell.path}: {len(mailbox)} messages, {held} held, {asks} asks"
    return None


def _left_behind(link: Link) -> int:
    """The most messages of dead incarnations of a peer in a full mailbox."""
    gone = link.epoch - link.is_connected
    limits = link.host.limits
    credit: int = 2 * limits.link_credit + limits.link_control_credit
    return max(0, gone) * credit


def asks_not_forgotten(_run: CheckedRun, host: Host) -> str | None:
    """Each open ask waits for a host that may still answer, and not beyond its deadline."""
    if not host.pending:
        return None
    overdue = (host.now() - OVERDUE_S) / BUCKET_S
    for future in host.pending.values():
        if future.done():
            return f"ask {future.correlation} of {host.name} has an outcome and is still open"
        link = host.links.get(future.slot)
        if future.sent and (link is None or link.carrier is None):
            return f"ask {future.correlation} of {host.name} waits for slot {future.slot}, lost"
        bucket = getattr(future, "bucket", -1)
        if 0 <= bucket < overdue:
            return f"ask {future.correlation} of {host.name} is beyond its deadline"
    return None


def tree_is_what_runs(run: CheckedRun, host: Host) -> str | None:
    """The running children are exactly those that their supervisors know."""
    known: dict[int, Cell] = {}
    for children in _all_children(host):
        checker = (
            children.supervisor.checker
            if isinstance(children.supervisor, CheckedSupervisor)
            else None
        )
        for cell in children.cells.values():
            known[cell.id] = cell
            if checker is None:
                continue
            incarnation = checker.alive.get(cell.id)
            if cell.lifecycle is Lifecycle.RUNNING and incarnation != cell.incarnation:
                return f"{cell.path} runs as {cell.incarnation}, its supervisor has {incarnation}"
            if incarnation is not None and cell.lifecycle is Lifecycle.STOPPED:
                return f"{cell.path} has stopped, its supervisor has {incarnation}"
    for number, cell in host.cells.items():
        if (
            number != CONTROL_CELL
            and known.get(number) is not cell
            and cell.recipe.actor in run.ours
            and not _is_declared(cell)
        ):
            return f"{cell.path} ({cell.lifecycle.name}) has no supervisor"
    for number, cell in known.items():
        if host.cells.get(number) is not cell:
            return f"{cell.path} has a supervisor, but cannot be reached"
    return None


def _is_declared(cell: Cell) -> bool:
    """Whether it is a declared child of a tree that its supervisor has not started yet."""
    parent = cell.parent
    is_member = isinstance(parent, SupervisorCell) and cell.id in parent.members
    return is_member and cell.lifecycle is not Lifecycle.RUNNING


def _all_children(host: Host) -> Iterator[Children[Cell]]:
    guardian = host.spawner._guardian
    waiting: list[Children[Cell]] = [] if guardian is None else [guardian]
    while waiting:
        children = waiting.pop()
        yield children
        waiting.extend(c.children for c in children.cells.values() if c.children is not None)


# --- at the end: all has healed, and time enough has passed ------------------------------------


def all_slots_up(run: CheckedRun) -> str | None:
    """Every slot has a host again."""
    for slot in run.simulated.root.table.slots.values():
        if not slot.is_up:
            return f"{slot.name} is down"
    return None


def all_connected(run: CheckedRun) -> str | None:
    """Every two hosts are connected, in both directions, to their current incarnations.

    Or they know each other, and connect at the first message.
    """
    for source, target in _pairs(run):
        link = source.links.get(target.slot)
        if link is None:
            if source.membership.epoch_of(target.slot) != (target.epoch, True):
                return f"{source.name} does not know {target.name}, epoch {target.epoch}"
            continue
        if link.carrier is None or link.epoch != target.epoch:
            return f"{source.name} is not connected to {target.name}, epoch {target.epoch}"
        if not link.outbox.is_open:
            return f"{source.name} has a closed outbox to {target.name}"
    return None


def links_agree(run: CheckedRun) -> str | None:
    """Both sides of a link have counted the same frames and the same credit."""
    for source, target in _pairs(run):
        way, back = source.links.get(target.slot), target.links.get(source.slot)
        if way is None or back is None:
            # Nothing has been sent, in either direction, over a link that only one side has.
            if any(link is not None and link.core.sequence for link in (way, back)):
                return f"{source.name} and {target.name}: only one side has a link"
            continue
        out = way.core
        held = sum(back.receiver.held.values())
        if out.sequence != back.core.received:
            return (
                f"{source.name} to {target.name}: {out.sequence} frames, {back.core.received} came"
            )
        if out.sent != back.core.admitted + held:
            return (
                f"{source.name} to {target.name}: {out.sent} messages sent, "
                f"{back.core.admitted} admitted, {held} held"
            )
        if out.unacknowledged:
            return f"{source.name} to {target.name}: {len(out.unacknowledged)} unacknowledged"
        waiting = way.outbox.waiting
        if waiting:
            return f"{source.name} to {target.name}: {waiting} messages wait without a reason"
        unfinished = len(back.receiver._joiner)
        if unfinished:
            return f"{source.name} to {target.name}: {unfinished} large values without an end"
    return None


def directories_agree(run: CheckedRun) -> str | None:
    """Every host has the newest directory, and all actors that it names are alive."""
    registrar = run.simulated.root.registrar
    table = run.simulated.root.table
    newest = registrar.directory()
    names = {name: (where.slot, where.cell) for name, where in table.names.items()}
    offers = {name: tuple(places) for name, places in table.offers.items()}
    whole = (names, offers, table.sizes, table.routings, table.shared(), table.places())
    for host in run.living():
        if host.directory.version != newest.version:
            return f"{host.name} has directory {host.directory.version}, not {newest.version}"
        copy, places = host.directory, host.membership._places
        here = (copy._names, copy._offers, copy._sizes, copy._routings, copy.hosts, places)
        if here != whole:
            return f"{host.name} has the directory {here}, not {whole}"
    named = [*table.names.values(), *(a for places in table.offers.values() for a in places)]
    hosts = {host.slot: host for host in run.living()}
    for address in named:
        found = hosts.get(address.slot)
        if found is None or address.cell not in found.cells:
            return f"{address} is in the directory, but not on its host"
    return None


def entries_run(run: CheckedRun) -> str | None:
    """The top-level actors of a host are exactly those of its records."""
    table = run.simulated.root.table
    for host in run.living():
        if host.slot == CONTROL_SLOT or is_driver_slot(host.slot):
            continue
        guardian = host.spawner._guardian
        alive = set() if guardian is None else set(guardian.cells)
        written = set(table.slots[host.slot].entries)
        if alive != written:
            return f"{host.name} has {sorted(alive)}, its records have {sorted(written)}"
    return None


def no_ask_left(run: CheckedRun) -> str | None:
    """Every ask has its outcome."""
    for host in run.living():
        if host.pending:
            return f"{host.name} has {len(host.pending)} open asks"
    for record in run.message_log.asks:
        if record.asker.is_dead:
            continue  # Its asker has died and cannot see it.
        if not record.outcome and record.number not in run.abandoned:
            return f"ask {record.number} has no outcome"
    return None


def no_note_lost(run: CheckedRun) -> str | None:
    """Every note between two hosts that never died has arrived."""
    table = run.simulated.root.table
    stable = {slot.number for slot in table.slots.values() if slot.epoch == 1}
    stable.add(CONTROL_SLOT)
    log = run.message_log
    for (sender, receiver), count in log.sent.items():
        slot, epoch = log.homes[sender]
        to_slot = int(receiver.partition("/")[0])
        if slot in stable and to_slot in stable and epoch == 1 and receiver in run.permanent:
            handled = log.handled.get((sender, receiver), 0)
            if handled != count:
                return f"sender {sender} sent {receiver} {count} notes, {handled} came"
    return None


def _pairs(run: CheckedRun) -> Iterator[tuple[Host, Host]]:
    hosts = list(run.living())
    for source in hosts:
        for target in hosts:
            # Drivers do not reach each other.
            if source is not target and not (
                is_driver_slot(source.slot) and is_driver_slot(target.slot)
            ):
                yield source, target


# --- when the system is down ----------------------------------------------------------------


def nothing_left(run: CheckedRun) -> str | None:
    """No task, timer, ask or message is left."""
    world = run.world
    host = run.simulated.engine.control
    assert host is not None
    loop: Any = host.loop
    left: dict[str, Any] = {
        "tasks": [] if loop.is_dead else [task.get_coro() for task in loop.tasks],
        "timers": [] if loop.is_dead else world.timers_of(loop),
        "open asks": list(host.pending),
        "deadlines": len(host.deadlines),
        "workers": list(host.dispatcher.workers),
        "links": [slot for slot, link in host.links.items() if link.carrier is not None],
        "waiting": sum(link.outbox.waiting for link in host.links.values()),
        "processes": [p.name for p in run.simulated.engine.processes if not p.loop.is_dead],
    }
    found = {name: what for name, what in left.items() if what}
    return f"left: {found}" if found else None


def _link(host: Host, link: Any) -> str:
    return f"link {host.slot} to {link.slot}"


AFTER_EACH_STEP: Final = _of(credit_kept, no_credit_lost, link_queues_bounded)
AT_REST: Final = _of(
    large_messages_in_order, mailboxes_bounded, asks_not_forgotten, tree_is_what_runs
)
AT_THE_END: Final = _of(
    all_slots_up,
    all_connected,
    links_agree,
    directories_agree,
    entries_run,
    no_ask_left,
    no_note_lost,
)
WHEN_DOWN: Final = _of(nothing_left)

SEEN: Final = MappingProxyType(
    {
        "delivered_once": "No message is delivered twice.",
        "order_kept": "Messages of one sender to one receiver keep their order.",
        "partials_in_order": "Partial results of an attempt come in order, from the first one on.",
        "one_outcome": "Every ask has exactly one outcome, and it is the right one.",
        "within_deadline": "Every ask ends at its deadline at the latest.",
        "may_have_run_is_true": "An error that says that a handler never ran is right.",
        "one_incarnation": "A child is started only when its last incarnation has ended.",
        "restart_kinds": "Only children whose restart kind says so are restarted.",
        "restart_intensity": "Restarts within a period never exceed the intensity.",
        "stop_order": "Children stop in the exact reverse of the order of their starts.",
        "notified_once": "A watcher gets exactly one notice of each end.",
        "one_root": "At most one root of a system may act at any time.",
        "a_root_comes_back": "When all nodes have healed, the newest root acts.",
        "replaced_roots_end": "A root that has been replaced ends itself.",
        "one_host_acts": "No process of a slot takes a step once another one has taken it over.",
        "lost_in_time": "A host that cannot be reached is replaced after its lease at the latest.",
        "proof_moves_at_once": "A slot whose process has provably ended does not wait for a lease.",
        "one_activation": "A key has at most one active actor in the whole system.",
        "placed_once": "A placed child of a tree runs for its own proxy only.",
        "placed_children_come_back": "Placed children answer again once the system has healed.",
        "execution_is_right": "Every execution ends with the right result or a stated failure.",
        "positions_gapless": "Positions of a log and versions of a stream have no gap.",
        "committed_once": "Each result and each end of an execution is committed once.",
        "done_stays_done": "Sub-tasks that were durably done before a resume do not run again.",
        "durable_before_it_leaves": "No result is collected or delivered before it is durable.",
        "superseded_is_silent": "A superseded owner writes no more events.",
        "points_count_once": "An acknowledged point has one outcome, and is in one window at most.",
        "windows_have_all_points": "Windows of each width have all points that were counted.",
        "shards_are_spread": "When hosts have come or gone, they differ by one shard at most.",
        "acknowledged_stays": "What an aggregator has acknowledged it never takes back.",
        "accounts_add_up": "The accounts of a pipeline add up at each of its commits.",
        "rows_leave_once": "Each row leaves its pipeline exactly once, by one way.",
        "work_goes_on": "The death of a root or a driver does not stop the work of a host.",
        "started_once": "An actor that a driver knows runs exactly once, any other at most once.",
        "drivers_forgotten": "No trace remains of a driver that has left or died.",
        "drivers_are_kept": "The root does not drop a driver that sends heartbeats.",
        "each_row_once": "A reader finds each row exactly once, in its newest revision.",
        "nothing_left_over": "At the end each file is listed, and each listed file exists.",
        "positions_come_once": "A client never sees a position of a channel twice.",
        "journal_is_whole": "A client gets each event of the journal, in its order.",
        "hub_accounts_balance": "Each event of a hub has exactly one fate.",
        "hub_is_bounded": "What waits for a client of a hub has a bound.",
        "clients_catch_up": "After the faults each client gets the rest of the journal.",
        "answers_are_final": "An approval that has its answer never changes.",
        "persons_count_once": "No person counts twice for an approval.",
        "deadlines_count": "No decision after the deadline of an approval counts.",
        "answers_last": "An answer that somebody has is stored, and is the same for all.",
        "one_offer": "A target has at most one outstanding offer.",
        "no_offer_after_nack": "A target does not get a version again that it has refused.",
        "within_wave": "No target gets a version before its wave.",
        "pass_before_next": "No wave begins while the verdict of the one before is not pass.",
        "pass_needs_data": "No window passes with fewer observations than its plan needs.",
        "no_fewer_healthy": "After a step back that leaves fewer healthy targets there is none.",
        "fold_is_state": "The events of a journal give the state that made them.",
        "table_holds": "Roll-outs make only the steps of their table.",
        "all_end": "Each roll-out ends.",
        "all_new_or_old": "At the end all reachable targets have the version of the last success.",
        "blast_radius": "A version that shows its fault at once touches 5 % of targets at most.",
        "no_error_of_its_own": "The kernel logs no error and raises no unexpected one.",
        "it_ends": "Every activity ends.",
    }
)
"""Invariants whose breach is seen when it happens."""


def sentence_of(name: str) -> str:
    """The sentence of an invariant."""
    for invariant in (*AFTER_EACH_STEP, *AT_REST, *AT_THE_END, *WHEN_DOWN):
        if invariant.name == name:
            return invariant.sentence
    return SEEN[name]
