"""One agent's work on some files: the unit of work for the loop and for actors."""

from collections.abc import Sequence
from pathlib import Path

from .analysers import Analyser
from .finding import Finding
from .source import load_source

__all__ = ["analyse_batch"]


def analyse_batch(agent: Analyser, root: Path | str, paths: Sequence[str]) -> tuple[Finding, ...]:
    """The raw findings of `agent` in `paths` under `root`, in the order of `paths`.

    Never raises because of the contents of a file, or of a missing file.
    """
    # Resolved, because tools normalise the paths that they report.
    folder = Path(root).resolve()
    files = [load_source(folder, path) for path in paths]
    return tuple(finding for found in agent.analyse_many(files) for finding in found)
