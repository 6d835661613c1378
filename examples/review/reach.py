"""Whether every host can do its part, before a review on a cluster begins.

A host on another node reads the same paths there. A file that only the driver has would become a
finding about the file. So one actor on each host compares all files first, and loads the analysers.
"""

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from callboard import Agent, Contract, Request, handler
from callboard.errors import ClusterError

from .source import local_name
from .tree import SourceTree

if TYPE_CHECKING:
    from callboard import System

__all__ = ["CompareFiles", "FilesCompared", "Scout", "check_hosts", "state_of"]

NODES_SHOWN_MAX: Final = 5
MISSING: Final = -1
SPECIAL: Final = -2
UNREADABLE: Final = -3
COMPARE_S: Final = 120.0
"""How long a host may take to compare a large tree over a network file system."""


class FilesCompared(Contract, name="review.files_compared"):
    """What one host lacks for a review; nothing if all texts are empty."""

    missing: int = 0
    """Files that are missing, of another size, or not readable, as the driver sees them."""
    first: str = ""
    analysers: str = ""
    """Why the analysers cannot be loaded."""


class CompareFiles(Request[FilesCompared], name="review.compare_files"):
    """Compare the files under `root` with what the driver sees; see `state_of`."""

    root: str
    paths: tuple[str, ...]
    states: tuple[int, ...]


class Scout(Agent):
    """Compares the files of one host."""

    @handler
    def compare_files(self, request: CompareFiles) -> FilesCompared:
        """Files and analysers, in a thread."""
        from .agents import SPECIALISTS
        from .analysers import analyser

        try:
            for name in SPECIALISTS:
                analyser(name)
        except ImportError as error:
            return FilesCompared(analysers=str(error))
        root = Path(request.root)
        wrong = [
            path
            for path, state in zip(request.paths, request.states, strict=True)
            if state_of(root, path) != state
        ]
        return FilesCompared(missing=len(wrong), first=wrong[0] if wrong else "")


def state_of(root: Path, path: str) -> int:
    """The size of a file in bytes; negative for one that is missing, special or not readable."""
    place = root / path
    if not os.path.lexists(place):
        place = root / local_name(path)
    try:
        found = place.stat()
    except (OSError, ValueError):
        return MISSING
    if not stat.S_ISREG(found.st_mode):
        return SPECIAL
    return found.st_size if os.access(place, os.R_OK) else UNREADABLE


async def check_hosts(system: "System", tree: SourceTree) -> None:
    """Raise `ClusterError` that names paths and nodes when a host cannot review `tree`."""
    root = tree.root.resolve()
    states = await asyncio.to_thread(lambda: tuple(state_of(root, path) for path in tree.paths))
    request = CompareFiles(root=str(root), paths=tree.paths, states=states)
    hosts = [host for host in (await system.view(actors_max=0)).hosts if host.slot > 0]
    seen = await asyncio.gather(*(_compare(system, host.slot, request) for host in hosts))
    problems: dict[str, list[str]] = {}
    for host, one in zip(hosts, seen, strict=True):
        problem = _problem(one, root, len(tree.paths))
        if problem:
            problems.setdefault(problem, []).append(f"{host.name} on node {host.node}")
    if problems:
        said = (f"{problem} ({_list(where)})" for problem, where in problems.items())
        raise ClusterError(
            f"the review cannot begin: {'; '.join(said)}.",
            advice="Every node with a host needs the source tree under the same path, and the "
            "analysers (`pip install 'callboard[review]'`). Copy them there, or use a folder that "
            "all nodes share.",
            root=str(root),
        )


async def _compare(system: "System", number: int, request: CompareFiles) -> FilesCompared:
    scout = await system.spawn(Scout, host=number)
    try:
        return await scout.ask(request, timeout_s=COMPARE_S)
    finally:
        await system.stop(scout)


def _problem(seen: FilesCompared, root: Path, files: int) -> str:
    if seen.analysers:
        return f"an analyser cannot be loaded: {seen.analysers}"
    if seen.missing:
        return (
            f"{seen.missing:,} of {files:,} files of {root} are missing or differ, the first is "
            f"{seen.first}"
        )
    return ""


def _list(hosts: Sequence[str]) -> str:
    more = len(hosts) - NODES_SHOWN_MAX
    return ", ".join(hosts[:NODES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
