"""Find the source files under a root, in an order that does not depend on the file system.

The walk does not enter directories behind symbolic links, so a loop of links cannot trap it, and no
file has two names. It follows links to files. An entry with the name of a source file that is none
(a folder, a pipe, a dangling link) is listed, and reading it gives a finding.
"""

import os
import re
import stat
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from callboard.errors import UsageError

from .source import load_source, portable_name

__all__ = [
    "FOLDERS_EXCLUDED",
    "STANDARD_LIBRARY_EXCLUDED",
    "SourceTree",
    "scan_tree",
    "standard_library",
]

SUFFIX: Final = ".py"

FOLDERS_EXCLUDED: Final = frozenset(
    {
        "__pycache__", "__pypackages__", ".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox",
        ".eggs", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", "node_modules",
        "site-packages", "dist-packages",
    }
)  # fmt: skip
"""Folders with third-party code, or without code."""

STANDARD_LIBRARY_EXCLUDED: Final = FOLDERS_EXCLUDED | {"test", "tests", "idle_test"}
"""The same for the standard library, with its tests."""

_NEWLINE: Final = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class SourceTree:
    """The files to review. `paths` are relative to `root`, sorted, with slashes."""

    root: Path
    name: str
    paths: tuple[str, ...]
    lines: int
    size_bytes: int
    notes: tuple[str, ...] = field(default=())

    def batches(self, size: int) -> tuple[tuple[str, ...], ...]:
        """The paths, cut into batches of at most `size`."""
        return tuple(self.paths[start : start + size] for start in range(0, len(self.paths), size))


def standard_library() -> Path:
    """The standard library of the running Python."""
    return Path(sysconfig.get_path("stdlib"))


def scan_tree(root: Path | str, *, excluded: frozenset[str] | None = None) -> SourceTree:
    """List the source files under `root`.

    `excluded` names folders to skip at any depth. None means `FOLDERS_EXCLUDED`, and for the
    standard library `STANDARD_LIBRARY_EXCLUDED`. An empty tree is valid and has a note. Raises
    UsageError when `root` is missing, is not a folder, or cannot be listed.
    """
    folder = _checked_root(Path(root))
    if excluded is None:
        is_library = os.path.realpath(standard_library()) == os.path.realpath(folder)
        excluded = STANDARD_LIBRARY_EXCLUDED if is_library else FOLDERS_EXCLUDED
    paths, unlisted = _walk(folder, excluded)
    lines, size_bytes = _measure(folder, paths)
    notes = [f"{path}: the folder cannot be listed" for path in unlisted]
    if not paths:
        notes.append(f"no file that ends in {SUFFIX} was found")
    name = portable_name(folder.resolve().name) or "/"
    return SourceTree(folder, name, tuple(paths), lines, size_bytes, tuple(notes))


def _checked_root(root: Path) -> Path:
    advice = "Name the folder that holds the source tree."
    try:
        status = root.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such file or directory"
        raise UsageError(
            f"the source tree {portable_name(str(root))} cannot be opened: {reason}.",
            advice=advice,
        ) from error
    shown = portable_name(str(root))
    if not stat.S_ISDIR(status.st_mode):
        raise UsageError(f"the source tree {shown} is a file, not a folder.", advice=advice)
    try:
        next(root.iterdir(), None)
    except OSError as error:
        raise UsageError(
            f"the source tree {shown} cannot be listed: {error.strerror}.",
            advice="Run as a user with permission to read it.",
        ) from error
    return root


def _walk(root: Path, excluded: frozenset[str]) -> tuple[list[str], list[str]]:
    paths: list[str] = []
    unlisted: list[str] = []
    pending: list[tuple[str, str]] = [(str(root), "")]
    while pending:
        folder, prefix = pending.pop()
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError:
            unlisted.append(prefix.rstrip("/"))
            continue
        for entry in found:
            path = prefix + portable_name(entry.name)
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder and entry.name in excluded:
                continue
            if is_folder:
                pending.append((entry.path, path + "/"))
            if entry.name.endswith(SUFFIX):
                paths.append(path)
    return sorted(paths), sorted(unlisted)


def _measure(root: Path, paths: Sequence[str]) -> tuple[int, int]:
    lines = size_bytes = 0
    for path in paths:
        data = load_source(root, path).data
        lines += len(_NEWLINE.findall(data)) + bool(data and not data.endswith((b"\n", b"\r")))
        size_bytes += len(data)
    return lines, size_bytes
