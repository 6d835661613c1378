"""Refuses a process that runs another release than this one, by its node and its versions."""

import asyncio
import re
from typing import Any, Final

import ray
import ray.cloudpickle
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from callboard.messages.core.errors import ClusterError

from ...doctor.cluster import NodeSeen, node_titles
from . import release
from .release import Release, release_of, this_release

__all__ = [
    "RAISED",
    "SAME_RELEASE",
    "check_release",
    "check_system",
    "node_of",
    "node_title",
    "why_not_started",
]

SAME_RELEASE: Final = (
    "Install the same Callboard, Python and Ray on every node and for every driver, and start the "
    "system again."
)
REPORT_S: Final = 5.0
"""How long a node may take to say what it has installed, after a process did not start there."""
RAISED: Final = "Traceback (most recent call last)"
"""Part of what Ray says of an actor that an exception has ended, not a signal or a lost node."""
NAMES_AN_ERROR: Final = re.compile(r"[\w.]+(?:Error|Exception)\b")
state: Final[Any] = ray._private.state  # noqa: SLF001 - Ray has no public way without a dashboard
cloudpickle: Final[Any] = ray.cloudpickle
"""Untyped in Ray."""


def check_release(theirs: Any, what: str, node: str = "", *, mine_is: str = "this system") -> None:
    """Raise `ClusterError` when another process reports another release than this one.

    `what` names the process, `node` its node, if it is known, and `mine_is` what has the release
    of this process.
    """
    found, mine = release_of(theirs), this_release()
    if found != mine:
        raise _another(what, node, found, mine, mine_is)


def check_system(ours: Any, what: str, node: str) -> None:
    """Raise `ClusterError` when this process has another release than its system, `ours`."""
    expected, mine = release_of(ours), this_release()
    if expected != mine:
        raise _another(what, node, mine, expected)


def _another(
    what: str, node: str, found: Release, expected: Release, who: str = "this system"
) -> ClusterError:
    where = f" on node {node}" if node else ""
    return ClusterError(
        f"{what}{where} runs {found.text}, and {who} {expected.text}.",
        advice=SAME_RELEASE,
        node=node,
    )


async def why_not_started(handle: Any, name: str, error: ray.exceptions.RayError) -> ClusterError:
    """Why a process did not start: its node has another release, or what Ray says."""
    said = str(error).strip()
    node = ""
    if RAISED in said:  # Not where the process was killed, or its node was lost.
        node = await asyncio.to_thread(node_of, handle)
    title = await asyncio.to_thread(node_title, node) if node else ""
    if node:
        report = await _report_of(node)
        if report is not None and report != this_release():
            return _another(name, title, report, this_release())
    where = f" on node {title}" if title else ""
    return ClusterError(
        f"{name} did not start{where}: {_reason(said)}", advice=SAME_RELEASE, node=title
    )


def _reason(said: str) -> str:
    """The line that names the exception; Ray may say more after it."""
    lines = said.splitlines() or [""]
    raised = (line for line in reversed(lines) if NAMES_AN_ERROR.match(line))
    return next(raised, lines[-1])[:300]


async def _report_of(node: str) -> Release | None:
    """The release that a node has installed; None when it does not say so in time."""
    # By value: the node may have no Callboard.
    cloudpickle.register_pickle_by_value(release)
    try:
        task: Any = ray.remote(release.installed)
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        asked = task.options(num_cpus=0, max_retries=0, scheduling_strategy=place).remote()
        async with asyncio.timeout(REPORT_S):
            return release_of(await asked)
    except (TimeoutError, ray.exceptions.RayError):
        return None
    finally:
        cloudpickle.unregister_pickle_by_value(release)


def node_of(handle: Any) -> str:
    """The id of the node on which an actor runs, or ran last; empty if it is not known."""
    try:
        row = state.actors(handle._actor_id.hex())  # noqa: SLF001 - as above
        return str(row["Address"]["NodeID"])
    except (KeyError, TypeError, AttributeError, ray.exceptions.RayError):
        return ""


def node_title(node: str) -> str:
    """The readable name of a node by its id."""
    known: Any = ray.nodes()  # type: ignore[no-untyped-call]
    seen = [
        NodeSeen(row["NodeID"], row["NodeManagerAddress"], row["NodeManagerHostname"])
        for row in known
        if row["Alive"] or row["NodeID"] == node
    ]
    return node_titles(seen).get(node, node)
