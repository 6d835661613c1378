"""Queries about the running system, and their replies: hosts, actors and their histories.

Queries travel like the control plane: to cell 0 of a host (its control actor), or of the
control host (the root's endpoint), which asks every host. Times are ages and durations by
the clock of the replying host, so clocks need not agree.
"""

from ..core.contract import Contract, Request

__all__ = [
    "ActorHistories",
    "ActorHistory",
    "ActorLoad",
    "ActorView",
    "CallboardView",
    "DriverView",
    "HistoryEntry",
    "HostView",
    "LinkView",
    "QueryActor",
    "QueryHost",
    "QueryHostActor",
    "QuerySystem",
    "StandbyView",
]


class ActorView(Contract, name="callboard.actor_view"):
    """One actor as `callboard tree` shows it."""

    cell: int
    name: str
    kind: str
    lifecycle: str
    mailbox: int
    incarnation: int
    children: int
    """The number of its children; `members` may show fewer."""
    path: str = ""
    """Its path on its host, as `callboard why` takes it."""
    running: int = 0
    """The number of its handlers that run or wait now."""
    stash: int = 0
    restart: str = ""
    """Its restart kind; empty when its supervisor has removed it."""
    significant: bool = False
    strategy: str = ""
    """Its strategy as a supervisor; empty while it has no children."""
    restarts: int = 0
    """Restarts after its own failures, without those after failures of siblings."""
    last_failure: str = ""
    failed_ago_s: float | None = None
    """The age of its last failure; None when there is none, or it is forgotten."""
    members: "tuple[ActorView, ...]" = ()
    runs_on: int = 0
    """For a placed child of a tree: the slot of its host."""
    runs_as: int = 0
    """For a placed child of a tree: its cell there."""
    is_remote_child_holder: bool = False
    """Whether it holds a placed child of a tree on another host."""


class LinkView(Contract, name="callboard.link_view"):
    """One link of a host, with counts since the start of the host."""

    slot: int
    """The slot of the host at the other end."""
    state: str
    """`open`, `connected` (its actors are being started), or `down`."""
    frames_out: int
    frames_in: int
    bytes_out: int
    bytes_in: int
    frames_resent: int
    waiting: int
    """Messages that wait for the link."""


class ActorLoad(Contract, name="callboard.actor_load"):
    """One of the busiest actors of a host."""

    cell: int
    path: str
    kind: str
    handled: int
    """Messages that it handled within the host's `busiest_window_s`."""
    mailbox: int
    running: int


class HostView(Contract, name="callboard.host_view"):
    """One host as `callboard tree` and `callboard top` show it."""

    slot: int
    epoch: int
    name: str
    pid: int
    """The id of its process; 0 for a host that did not answer."""
    node: str
    actors: int
    handled: int
    pending_asks: int
    dead_letters: dict[str, int]
    memory_bytes: int
    state: str = "up"
    """`up`; or, without a reply, `down` (no process has the slot) or `silent`."""
    problem: str = ""
    """Why there is no reply, or why the last process of this slot ended."""
    at_s: float = 0.0
    """The time of this view, in seconds of the host's clock: for rates between two views."""
    uptime_s: float = 0.0
    is_stopping: bool = False
    top_level: int = 0
    """The number of actors without a parent; `members` may show fewer."""
    strategy: str = ""
    restarts: int = 0
    deaths: int = 0
    """Abnormal exits of actors, failed starts included."""
    mailbox: int | None = None
    """Messages in all mailboxes; None when the query did not ask for them."""
    mailbox_max: int | None = None
    """Messages in the fullest mailbox; None when the query did not ask for them."""
    cpu_s: float = 0.0
    """Processor time of its process, in seconds."""
    lag_mean_s: float | None = None
    """The mean delay of the event loop's timers over the last seconds; None if not measured."""
    lag_max_s: float | None = None
    links: tuple[LinkView, ...] = ()
    busiest: tuple[ActorLoad, ...] = ()
    busiest_window_s: float = 0.0
    """The seconds that `ActorLoad.handled` covers; 0 when this query has begun the counting."""
    members: tuple[ActorView, ...] = ()


class StandbyView(Contract, name="callboard.standby_view"):
    """A process that waits to take the slot of a host over."""

    name: str
    """Its name in Ray's dashboard, which it keeps when it has taken over."""
    pid: int
    is_ready: bool


class DriverView(Contract, name="callboard.driver_view"):
    """A driver that is attached to a detached system."""

    slot: int
    name: str


class QueryHost(Request[HostView], name="callboard.query_host"):
    """Ask for a host and its actors.

    The reply lists at most `actors_max` actors, those with recent failures first. With
    `busiest_max` it also lists that many of the busiest actors, the links and the mailboxes.
    """

    actors_max: int = 50
    busiest_max: int = 0


class CallboardView(Contract, name="callboard.view"):
    """The whole system."""

    name: str
    hosts: tuple[HostView, ...]
    restarts: int
    """Hosts that were replaced."""
    standbys: int
    """Standbys that have loaded the code of the actors, and can take over at once."""
    standby_processes: "tuple[StandbyView, ...]" = ()
    """Every standby, also those that still load code."""
    drivers: "tuple[DriverView, ...]" = ()
    """The drivers that are attached to a detached system now."""


class QuerySystem(Request[CallboardView], name="callboard.query_system"):
    """Ask for the whole system; the limits hold for each host, as in `QueryHost`."""

    actors_max: int = 50
    busiest_max: int = 0


class HistoryEntry(Contract, name="callboard.history_entry"):
    """One failure of an actor or a host, or of another that took it along."""

    ago_s: float
    incarnation: int
    """The incarnation that failed: that of `origin`, if there is one."""
    reason: str
    message: str
    traceback: str = ""
    decision: str = ""
    """The decision of the supervisor."""
    delay_s: float = 0.0
    """The back-off before the restart, in seconds."""
    relation: str = ""
    """What failed: `sibling`, `parent` (the parent or one of its own), `host`; empty for itself."""
    origin: str = ""
    """The path of the sibling, the parent or the host that failed; empty for itself."""


class ActorHistory(Contract, name="callboard.actor_history"):
    """The state and the failures of an actor or a host, as `callboard why` shows them."""

    host: str
    path: str
    """Its path on its host; empty for the host itself."""
    kind: str
    lifecycle: str
    cell: int = 0
    incarnation: int = 0
    mailbox: int = 0
    restarts: int = 0
    """Restarts after its own failures."""
    group_restarts: int = 0
    """Restarts after failures of siblings, with its group."""
    parent_restarts: int = 0
    """Restarts of its parent, and of the parents of that; everything below starts anew."""
    host_restarts: int = 0
    """How often another process has taken its host's slot over."""
    restart: str = ""
    supervision: str = ""
    """The policy of its supervisor: strategy, and restarts within a period."""
    ended_ago_s: float | None = None
    """For an actor that has ended for good: how long ago, in seconds."""
    ended: str = ""
    """For an actor that has ended for good: why."""
    note: str = ""
    entries: tuple[HistoryEntry, ...] = ()
    """The oldest first; only the newest entries are kept."""


class ActorHistories(Contract, name="callboard.actor_histories"):
    """The histories of all actors that match a path."""

    system: str = ""
    matches: tuple[ActorHistory, ...] = ()
    matches_left_off: int = 0
    near: tuple[str, ...] = ()
    """Without a match: similar paths."""
    silent: tuple[tuple[str, str], ...] = ()
    """Hosts that did not answer, and why; the actor may be there."""


class QueryActor(Request[ActorHistories], name="callboard.query_actor"):
    """Ask the endpoint for the history of an actor by its path or name, or a host by its name."""

    path: str


class QueryHostActor(Request[ActorHistories], name="callboard.query_host_actor"):
    """Ask a host for the history of an actor, by its path there, or by its cell if not 0."""

    path: str
    cell: int = 0
