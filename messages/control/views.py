"""Queries about the running system, and their replies: hosts, actors and their histories.

Queries travel like the control plane: to cell 0 of a host (its control actor), or of the
control host (the root's endpoint), which asks every host. Times are ages and durations by
the clock of the replying host, so clocks need not agree.
"""

from typing import Final

from pydantic import Field

from ..core.contract import Contract, Request

__all__ = [
    "ActorHistories",
    "ActorHistory",
    "ActorLoad",
    "ActorRow",
    "ActorView",
    "ActorsPage",
    "CallboardView",
    "DriverView",
    "HistoryEntry",
    "HostView",
    "LinkView",
    "QueryActor",
    "QueryActors",
    "QueryHost",
    "QueryHostActor",
    "QueryHostActors",
    "QuerySystem",
    "StandbyView",
]

ACTORS_PAGE_MAX: Final = 500
"""The most actors of one page."""


class ActorView(Contract, name="callboard.actor_view"):
    """One actor as `callboard tree` shows it."""

    cell: int
    """The number of its cell, unique in the system."""
    name: str
    """Its name; `$7` without one."""
    kind: str
    """The name of its class."""
    lifecycle: str
    """`starting`, `running`, `stopping` or another state of its life."""
    mailbox: int
    """Messages that wait in its mailbox."""
    incarnation: int
    """The number of its start; each restart has a new one."""
    children: int
    """The number of its children; `members` may show fewer."""
    path: str = ""
    """Its path on its host, as `callboard why` takes it."""
    running: int = 0
    """The number of its handlers that run or wait now."""
    stash: int = 0
    """Messages that it has put aside."""
    restart: str = ""
    """Its restart kind; empty when its supervisor has removed it."""
    significant: bool = False
    """Whether its end can end its supervisor."""
    strategy: str = ""
    """Its strategy as a supervisor; empty while it has no children."""
    restarts: int = 0
    """Restarts after its own failures, without those after failures of siblings."""
    last_failure: str = ""
    """The reason of its last failure; empty when there is none."""
    failed_ago_s: float | None = None
    """The age of its last failure; None when there is none, or it is forgotten."""
    members: "tuple[ActorView, ...]" = ()
    """Its children, as far as they are shown."""
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
    """Frames sent."""
    frames_in: int
    """Frames received."""
    bytes_out: int
    """Bytes sent."""
    bytes_in: int
    """Bytes received."""
    frames_resent: int
    """Frames sent again, because they may have been lost."""
    waiting: int
    """Messages that wait for the link."""


class ActorLoad(Contract, name="callboard.actor_load"):
    """One of the busiest actors of a host."""

    cell: int
    """The number of its cell."""
    path: str
    """Its path on its host."""
    kind: str
    """The name of its class."""
    handled: int
    """Messages that it handled within the host's `busiest_window_s`."""
    mailbox: int
    """Messages that wait in its mailbox."""
    running: int
    """The number of its handlers that run or wait now."""


class HostView(Contract, name="callboard.host_view"):
    """One host as `callboard tree` and `callboard top` show it."""

    slot: int
    """Its place in the system; 0 is the control host."""
    epoch: int
    """The number of processes that have had this slot, with the one of now."""
    name: str
    """Its name, such as `host-1`."""
    pid: int
    """The id of its process; 0 for a host that did not answer."""
    node: str
    """The name of its machine."""
    actors: int
    """Actors that run on it."""
    handled: int
    """Messages that its actors have handled since its start."""
    pending_asks: int
    """Asks to other hosts that have no outcome yet."""
    dead_letters: dict[str, int]
    """Messages that no handler got, by reason, since its start."""
    memory_bytes: int
    """The resident memory of its process, in bytes; pages that processes share count in each."""
    state: str = "up"
    """`up`; or, without a reply, `down` (no process has the slot) or `silent`."""
    problem: str = ""
    """Why there is no reply, or why the last process of this slot ended."""
    at_s: float = 0.0
    """The time of this view, in seconds of the host's clock: for rates between two views."""
    dead_letter_causes: dict[str, str] = Field(default_factory=dict)
    """The newest error of each reason."""
    uptime_s: float = 0.0
    """Seconds since its start."""
    is_stopping: bool = False
    """Whether it stops in order."""
    top_level: int = 0
    """The number of actors without a parent; `members` may show fewer."""
    strategy: str = ""
    """The strategy of its guardian, which supervises its top-level actors."""
    restarts: int = 0
    """Restarts of actors since its start."""
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
    """The longest such delay; None if not measured."""
    links: tuple[LinkView, ...] = ()
    """Its links to other hosts and drivers, if the query asked for them."""
    busiest: tuple[ActorLoad, ...] = ()
    """Its busiest actors, if the query asked for them."""
    busiest_window_s: float = 0.0
    """The seconds that `ActorLoad.handled` covers; 0 when this query has begun the counting."""
    members: tuple[ActorView, ...] = ()
    """Its top-level actors, as far as they are shown."""


class StandbyView(Contract, name="callboard.standby_view"):
    """A process that waits to take the slot of a host over."""

    name: str
    """Its name in Ray's dashboard, which it keeps when it has taken over."""
    pid: int
    """The id of its process; 0 where it has none of its own."""
    is_ready: bool
    """Whether it has loaded the code of the actors."""


class DriverView(Contract, name="callboard.driver_view"):
    """A driver that is attached to a detached system."""

    slot: int
    """Its place in the system; never used again."""
    name: str
    """Its name, for people."""


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
    """The name of the system."""
    hosts: tuple[HostView, ...]
    """Its hosts: the control host first, then one for each slot."""
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


class ActorRow(Contract, name="callboard.actor_row"):
    """One actor of a list."""

    slot: int
    """The slot of its host."""
    cell: int
    """The number of its cell."""
    host: str
    """The name of its host."""
    path: str
    """Its path on its host."""
    kind: str
    """The name of its class."""
    lifecycle: str
    """See `ActorView.lifecycle`."""
    mailbox: int
    """Messages that wait in its mailbox."""
    running: int
    """The number of its handlers that run or wait now."""
    incarnation: int
    """The number of its start."""
    children: int
    """The number of its children."""
    failed_ago_s: float | None = None
    """The age of its last failure; None when there is none, or it is forgotten."""


class ActorsPage(Contract, name="callboard.actors_page"):
    """A page of the list of all actors, by slot and cell."""

    items: tuple[ActorRow, ...] = ()
    """The actors."""
    slot: int = 0
    """With `has_more`: the place after which the next page begins."""
    cell: int = 0
    """See `slot`."""
    has_more: bool = False
    """Whether there may be actors after this page."""
    silent: tuple[tuple[str, str], ...] = ()
    """Hosts that did not answer, and why; their actors are left out."""


class QueryHostActors(Request[ActorsPage], name="callboard.query_host_actors"):
    """Ask a host for its actors whose cells come after `cell`, in the order of their numbers."""

    cell: int = -1
    limit: int = Field(default=50, ge=1, le=ACTORS_PAGE_MAX)
    path: str = ""
    """Only actors whose path on their host contains this text."""
    failed_only: bool = False
    """Only actors that have failed lately."""


class QueryActors(Request[ActorsPage], name="callboard.query_actors"):
    """Ask for the actors of all hosts, after the place (`slot`, `cell`).

    An actor that starts or ends between two pages moves no other: its place is its address.
    """

    slot: int = 0
    cell: int = -1
    limit: int = Field(default=50, ge=1, le=ACTORS_PAGE_MAX)
    path: str = ""
    """See `QueryHostActors.path`."""
    failed_only: bool = False
    """See `QueryHostActors.failed_only`."""


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
    """Restarts of its parent, and of the parents of that; everything below starts again."""
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
