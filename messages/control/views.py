"""What a look at the running system gives: hosts, actors and their histories as contracts.

Looks travel as the control plane does: to cell 0 of a host (its control actor), or of the control
host (the root's endpoint), which asks every host. Times are ages and durations by the clock of
the host that tells them: nobody has to agree on what time it is.
"""

from ..core.contract import Contract, Request

__all__ = [
    "ActorHistories",
    "ActorHistory",
    "ActorLoad",
    "ActorView",
    "CallboardView",
    "HistoryEntry",
    "HostView",
    "LinkView",
    "QueryActor",
    "QueryHost",
    "QueryHostActor",
    "QuerySystem",
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
    """How many children it has in all; `members` may show fewer."""
    path: str = ""
    """Where it is on its host, as `callboard why` takes it."""
    running: int = 0
    """Handlers of it that run or wait now."""
    stash: int = 0
    restart: str = ""
    """Its restart kind; empty where no supervisor knows it any more."""
    significant: bool = False
    strategy: str = ""
    """How it supervises its children; empty while it has none."""
    restarts: int = 0
    """Restarts that it caused itself; a sibling's count with the sibling."""
    last_failure: str = ""
    failed_ago_s: float | None = None
    """How long ago it failed; None when that is not remembered."""
    members: "tuple[ActorView, ...]" = ()
    runs_on: int = 0
    """For a child of a tree that was placed elsewhere: the slot of the host it runs on."""
    runs_as: int = 0
    """Its cell there."""
    is_remote_child_holder: bool = False
    """Whether it only holds a placed child of a tree on another host."""


class LinkView(Contract, name="callboard.link_view"):
    """One link of a host, counted since the host came up."""

    slot: int
    """The host at the other end."""
    state: str
    """`open`, `connected` (its actors are being started), or `down`."""
    frames_out: int
    frames_in: int
    bytes_out: int
    bytes_in: int
    frames_resent: int
    waiting: int
    """Messages that wait to be written."""


class ActorLoad(Contract, name="callboard.actor_load"):
    """One of the busiest actors of a host."""

    cell: int
    path: str
    kind: str
    handled: int
    """Messages within the host's `busiest_window_s`."""
    mailbox: int
    running: int


class HostView(Contract, name="callboard.host_view"):
    """One host as `callboard tree` and `callboard top` show it."""

    slot: int
    epoch: int
    name: str
    pid: int
    """Its process; 0 for a host that did not answer."""
    node: str
    actors: int
    handled: int
    pending_asks: int
    dead_letters: dict[str, int]
    memory_bytes: int
    state: str = "up"
    """`up`; or, without an answer, `down` (no process has the slot) or `silent`."""
    problem: str = ""
    """Why there is no answer, or why the last process of this slot ended."""
    at_s: float = 0.0
    """When this was: seconds of a clock of the host's own, for rates between two looks."""
    uptime_s: float = 0.0
    is_stopping: bool = False
    top_level: int = 0
    """How many actors have no parent; `members` may show fewer."""
    strategy: str = ""
    restarts: int = 0
    deaths: int = 0
    """Incarnations of actors that ended abnormally, starts that failed among them."""
    mailbox: int | None = None
    """Messages in all mailboxes; None when that was not asked."""
    mailbox_max: int | None = None
    cpu_s: float = 0.0
    """Processor time of its process."""
    lag_mean_s: float | None = None
    """How late timers of the event loop were, over the last seconds; None: not measured."""
    lag_max_s: float | None = None
    links: tuple[LinkView, ...] = ()
    busiest: tuple[ActorLoad, ...] = ()
    busiest_window_s: float = 0.0
    """What `ActorLoad.handled` is over; 0: counting has only begun with this look."""
    members: tuple[ActorView, ...] = ()


class QueryHost(Request[HostView], name="callboard.look_at_host"):
    """What is on a host.

    At most `actors_max` actors are told one by one, those with recent failures first. With
    `busiest_max`, so many of the busiest are told, and links and mailboxes are measured.
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


class QuerySystem(Request[CallboardView], name="callboard.look_at_system"):
    """What there is in the system; the limits are for each host, as in `QueryHost`."""

    actors_max: int = 50
    busiest_max: int = 0


class HistoryEntry(Contract, name="callboard.story_entry"):
    """One failure of an actor or a host."""

    ago_s: float
    incarnation: int
    reason: str
    message: str
    traceback: str = ""
    decision: str = ""
    """What the supervisor did about it."""
    delay_s: float = 0.0
    """How long a restart waited for its back-off."""


class ActorHistory(Contract, name="callboard.actor_story"):
    """Why an actor, or a host, is as it is: what `callboard why` tells."""

    host: str
    path: str
    """On its host; empty for the host itself."""
    kind: str
    lifecycle: str
    cell: int = 0
    incarnation: int = 0
    mailbox: int = 0
    restarts: int = 0
    restart: str = ""
    supervision: str = ""
    """How its supervisor judges it: strategy, and restarts within a period."""
    ended_ago_s: float | None = None
    """For one that is gone for good: since when."""
    ended: str = ""
    """For one that is gone for good: why."""
    note: str = ""
    entries: tuple[HistoryEntry, ...] = ()
    """Oldest first; only the newest are remembered."""


class ActorHistories(Contract, name="callboard.stories"):
    """Every actor that a path may mean."""

    system: str = ""
    matches: tuple[ActorHistory, ...] = ()
    matches_left_off: int = 0
    near: tuple[str, ...] = ()
    """Without a match: paths that look alike."""
    silent: tuple[tuple[str, str], ...] = ()
    """Hosts that did not answer, and why; the actor may be there."""


class QueryActor(Request[ActorHistories], name="callboard.look_at_actor"):
    """Asks the endpoint for an actor's story, by its path or name, or a host's by its name."""

    path: str


class QueryHostActor(Request[ActorHistories], name="callboard.look_at_host_actor"):
    """Asks a host for the story of an actor, by its path there, or by its cell if not 0."""

    path: str
    cell: int = 0
