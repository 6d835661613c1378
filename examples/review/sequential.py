"""The whole review as a plain loop, for comparison with the parallel review."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from .analysers import ANALYSER_NAMES, analyser
from .batch import analyse_batch
from .finding import Finding
from .report import Report, build_report
from .resolve import resolve
from .tree import scan_tree

__all__ = ["FILES_PER_BATCH", "review_sequential"]

FILES_PER_BATCH: Final = 64


def review_sequential(
    root: Path | str,
    progress: Callable[[int, int], None] | None = None,
    *,
    agents: Sequence[str] = ANALYSER_NAMES,
    files_per_batch: int = FILES_PER_BATCH,
    excluded: frozenset[str] | None = None,
) -> Report:
    """Review the tree under `root`, one agent and one batch after another.

    It calls `progress` with the number of finished batches and their total. Raises UsageError when
    `root` is not a readable folder.
    """
    tree = scan_tree(root, excluded=excluded)
    batches = tree.batches(files_per_batch)
    specialists = [analyser(name) for name in agents]
    raw: list[Finding] = []
    done, total = 0, len(batches) * len(specialists)
    for batch in batches:
        for specialist in specialists:
            raw += analyse_batch(specialist, tree.root, batch)
            done += 1
            if progress is not None:
                progress(done, total)
    return build_report(tree, agents, resolve(raw))
