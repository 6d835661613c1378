"""A folder as a source: every file is read once, within bounds, and nothing is followed outside."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from callboard.actors.configuration.formats.draft import SourceFile
from callboard.actors.configuration.formats.read import FILE_BYTES_MAX
from callboard.messages.core.errors import UsageError

__all__ = ["FILES_MAX", "TOTAL_BYTES_MAX", "read_folder"]

FILES_MAX: Final = 50_000
TOTAL_BYTES_MAX: Final = 1_000_000_000
DEPTH_MAX: Final = 60
SKIPPED: Final = frozenset({".git", "node_modules", ".venv", "__pycache__"})
READ: Final = frozenset({".md", ".json", ".yaml", ".yml"})
"""Other files are named, and not read."""


def read_folder(root: Path) -> Iterator[SourceFile]:
    """The files of a folder, or of one file. Raises `UsageError` when there is none."""
    if root.is_file():
        yield _file(root, root.name, root.parent.resolve())
        return
    if not root.is_dir():
        raise UsageError(f"{root} is no folder and no file.", advice="Check the path.")
    real = root.resolve()
    size = 0
    for count, (path, name) in enumerate(_walk(root), 1):
        if count > FILES_MAX or size > TOTAL_BYTES_MAX:
            yield SourceFile(
                name, rule="too-many-files", problem=f"more than {FILES_MAX:,} files, or 1 GB."
            )
            return
        found = _file(path, name, real)
        size += len(found.data)
        yield found


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    """Every file below a folder, without entering links."""
    stack = [(root, "", 0)]
    while stack:
        folder, prefix, depth = stack.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            yield folder, prefix.rstrip("/") or "."
            continue
        for entry in entries:
            name = prefix + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            if not entry.is_dir(follow_symlinks=False):
                yield Path(entry.path), name
            elif entry.name not in SKIPPED:
                if depth == DEPTH_MAX:
                    yield Path(entry.path), name
                else:
                    stack.append((Path(entry.path), f"{name}/", depth + 1))


def _file(path: Path, name: str, real: Path) -> SourceFile:
    try:
        if path.is_symlink():
            if not path.exists():
                return SourceFile(name, rule="link-broken", problem="the link leads nowhere.")
            target = path.resolve()
            if not target.is_relative_to(real):
                return SourceFile(
                    name, rule="link-leaves-folder", problem="the link leaves the folder."
                )
            if target.is_dir():
                return SourceFile(name.rstrip("/") + "/")
        if path.is_dir():
            return SourceFile(
                name, rule="file-unreadable", problem="the folder is too deep, or not readable."
            )
        if path.suffix.lower() not in READ:
            return SourceFile(name)
        return _read(path, name)
    except (OSError, RuntimeError) as error:
        return SourceFile(
            name, rule="file-unreadable", problem=f"it cannot be read: {error!s:.200}."
        )


def _read(path: Path, name: str) -> SourceFile:
    # A pipe or a device would never end: only what is a file after it is open is read.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            return SourceFile(name, rule="file-unreadable", problem="it is no regular file.")
        if found.st_size > FILE_BYTES_MAX:
            return SourceFile(
                name, rule="file-too-large", problem=f"the file has {found.st_size:,} bytes."
            )
        return SourceFile(name, stream.read(FILE_BYTES_MAX + 1))
