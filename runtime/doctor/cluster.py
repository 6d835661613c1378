"""A running cluster as a driver sees it before it joins, and why the driver cannot. Pure.

Ray's own client waits for a minute when no node of the cluster runs on its machine, and for 40 s
when the cluster wants a token that it does not show. The control store tells both at once.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from callboard.messages.core.errors import CallboardError, ClusterError, ClusterUnreachable
from callboard.messages.core.names import shell_command

from .check import Check, Status
from .network import Endpoint
from .token import SOURCES

__all__ = [
    "CLIENT_ADVICE",
    "ClusterSeen",
    "Here",
    "NodeSeen",
    "Token",
    "address_check",
    "check_join",
    "check_token_use",
    "node_titles",
    "token_check",
]

NODES_SHOWN_MAX: Final = 8
ID_CHARS: Final = 8
CLIENT_ADVICE: Final = (
    "Ray Client (`ray://`) is not supported: a driver exchanges frames with its hosts itself. Run "
    "the driver on a node of the cluster, with the address of the head (host:port, the port is "
    "6379 by default)."
)


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """One living node of a cluster."""

    id: str
    address: str
    hostname: str
    session: str = ""
    """The folder of Ray's session, which the processes of the node name on their command lines."""


@dataclass(frozen=True, slots=True)
class Token:
    """How a cluster takes a driver's token."""

    wanted: bool
    """Whether the control store refuses requests without a token."""
    shown: bool = False
    """Whether this machine has a token."""
    taken: bool = False
    """Whether the control store takes the token of this machine."""


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """What the control store of a cluster says. Without a token that it takes, only `token`."""

    endpoint: Endpoint
    token: Token
    nodes: tuple[NodeSeen, ...] = ()
    """The living nodes."""
    ray: str = ""
    """The version of Ray that the head runs; empty where it is not known."""
    python: str = ""

    @property
    def marks(self) -> set[str]:
        """Texts that tell the daemons of this cluster from others, by their command lines."""
        sessions = {node.session.rpartition("/")[2] for node in self.nodes}
        return {str(self.endpoint), *(node.id for node in self.nodes), *sessions} - {""}


@dataclass(frozen=True, slots=True)
class Here:
    """This process and its machine."""

    mode: str
    """The value of RAY_AUTH_MODE in lower case; empty if it is not set."""
    node_ids: Collection[str]
    """The ids of the nodes whose daemons run on this machine, of any cluster."""
    addresses: Collection[str]
    """The addresses of this machine."""
    ray: str
    python: str
    python_parts: int = 3
    """How many parts of Python's version must be equal: 3, or 2 where Ray is set so."""


def address_check(
    query: Callable[[], tuple[ClusterSeen, Here]],
) -> tuple[Check, ClusterSeen | None]:
    """Whether a driver here can join the cluster that `query` asks, for people.

    Also what the cluster has said, if it has answered.
    """
    name, seen = "address", None
    try:
        seen, here = query()
        check_join(seen, here)
    except CallboardError as error:
        return Check(name, Status.FAIL, error.message.removesuffix("."), error.advice), seen
    titles = node_titles(seen.nodes)
    mine = ", ".join(titles[node.id] for node in seen.nodes if node.id in here.node_ids)
    count = f"{len(seen.nodes)} nodes" if len(seen.nodes) > 1 else "1 node"
    return Check(name, Status.OK, f"{seen.endpoint} answers: {count}, here {mine}"), seen


def token_check(token: Token, before: Check, mode: str) -> Check:
    """The finding about the token, now that the cluster has answered; `before` is the one so far.

    `mode` is the value of RAY_AUTH_MODE in lower case, or empty.
    """
    if token.wanted:
        if token.taken and before.status is not Status.FAIL:
            found = f"{before.found}; the cluster takes it"
            return Check(before.name, before.status, found, before.advice)
        return before
    return Check(
        before.name,
        Status.WARN,
        "the cluster wants none: everybody who reaches its ports can run code",
        "Set RAY_AUTH_MODE=token for each `ray start`, after `ray get-auth-token --generate`."
        if mode != "disabled"
        else "Set RAY_AUTH_MODE=token, on every node and for the driver.",
    )


def check_token_use(token: Token, mode: str, endpoint: Endpoint) -> None:
    """Raise `ClusterUnreachable` when the cluster would refuse this driver for its token.

    `mode` is the value of RAY_AUTH_MODE in lower case, or empty.
    """
    if not token.wanted:
        if mode == "token":
            # Measured with Ray 2.60: the head's calls to the driver are refused, actors end.
            raise ClusterUnreachable(
                f"RAY_AUTH_MODE=token is set here, but the cluster at {endpoint} has no token, so "
                "that this driver would refuse the cluster's calls.",
                advice="Unset RAY_AUTH_MODE here. Or give the cluster a token: "
                "`ray get-auth-token --generate`, and RAY_AUTH_MODE=token for each `ray start`.",
                address=str(endpoint),
            )
        return
    if mode not in {"", "token"}:
        problem = f"RAY_AUTH_MODE={mode} is set here, so that no token is shown"
        advice = "Set RAY_AUTH_MODE=token, and put the cluster's token on this machine."
    elif not token.shown:
        problem = "there is none here"
        advice = f"Copy the token of the cluster's head. Ray reads {SOURCES}."
    elif not token.taken:
        problem = "refuses the one that is here"
        advice = f"Copy the token of the cluster's head. Ray reads {SOURCES}."
    else:
        return
    raise ClusterUnreachable(
        f"the cluster at {endpoint} wants a token, and {problem}.",
        advice=advice,
        address=str(endpoint),
    )


def check_join(seen: ClusterSeen, here: Here) -> None:
    """Raise `ClusterError` when a driver in this process cannot join the cluster, with the reason.

    `ClusterUnreachable` for a wrong token, and where no node of the cluster runs on this machine.
    """
    check_token_use(seen.token, here.mode, seen.endpoint)
    _check_node(seen, here)
    for name, theirs, mine, parts in (
        ("Ray", seen.ray, here.ray, None),
        ("Python", seen.python, here.python, here.python_parts),
    ):
        if theirs and theirs.split(".")[:parts] != mine.split(".")[:parts]:
            raise ClusterError(
                f"the cluster at {seen.endpoint} runs {name} {theirs}, and this driver {mine}.",
                advice="Install the same Ray and the same Python on every node and for the driver.",
                address=str(seen.endpoint),
            )


def _check_node(seen: ClusterSeen, here: Here) -> None:
    if any(node.id in here.node_ids for node in seen.nodes):
        return
    titles = list(node_titles(seen.nodes).values())
    more = f" and {len(titles) - NODES_SHOWN_MAX} more" if len(titles) > NODES_SHOWN_MAX else ""
    nodes = ", ".join(titles[:NODES_SHOWN_MAX]) + more or "none that lives"
    join = shell_command("ray start", options=("--address", str(seen.endpoint), "--num-cpus", "0"))
    mode = "RAY_AUTH_MODE=token " if seen.token.wanted else ""
    advice = (
        f"Run the driver on one of these machines. Or let this one join without its processors: "
        f"`{mode}{join} --block`, and start the driver there, too."
    )
    same = next((node.address for node in seen.nodes if node.address in here.addresses), None)
    if same is not None:
        advice = (
            f"A node has an address of this machine, {same}, but its processes cannot be seen from "
            "here: they run in another container. Run the driver inside that container."
        )
    raise ClusterUnreachable(
        f"a driver must run on a node of its cluster, and none of the cluster at {seen.endpoint} "
        f"runs on this machine. Its nodes: {nodes}.",
        advice=advice,
        address=str(seen.endpoint),
    )


def node_titles(nodes: Sequence[NodeSeen]) -> Mapping[str, str]:
    """A readable name for each node, by its id; two nodes of one machine also have their ids."""
    plain = {node.id: _title(node) for node in nodes}
    counts: dict[str, int] = {}
    for title in plain.values():
        counts[title] = counts.get(title, 0) + 1
    return {
        id_: title if counts[title] == 1 else f"{title} [{id_[:ID_CHARS]}]"
        for id_, title in plain.items()
    }


def _title(node: NodeSeen) -> str:
    if not node.hostname or node.hostname == node.address:
        return node.address
    return f"{node.hostname} ({node.address})"
