"""One agent's work on some files: the unit that is run in a loop, or sent to an actor."""

from collections.abc import Sequence
from pathlib import Path

from .analysers import Analyser
from .finding import Finding
from .source import load_source

__all__ = ["analyse_batch"]


def analyse_batch(agent: Analyser, root: Path | str, paths: Sequence[str]) -> tuple[Finding, ...]:
    """What `agent` finds in `paths` under `root`, raw, by file in the order of `paths`.

    Never raises for what is in the files, nor for files that are gone.
    """
    # Resolved: tools normalise the paths that they report.
    folder = Path(root).resolve()
    files = [load_source(folder, path) for path in paths]
    return tuple(finding for found in agent.analyse_many(files) for finding in found)
