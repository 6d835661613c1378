"""Files and folders that only their owner can read, whatever the umask.

Journals, stores and large results hold what users submit. So Callboard gives each file the mode
0600 and each folder 0700. What an earlier release has left wider is narrowed when it is opened,
with a word in the log. What belongs to another user cannot be narrowed, and is refused.
"""

import contextlib
import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

__all__ = ["narrow", "open_private", "private_folder", "write_private"]

LOGGER: Final = logging.getLogger("callboard.stores")
FILE: Final = 0o600
FOLDER: Final = 0o700
OTHERS: Final = 0o077


def private_folder(folder: Path) -> None:
    """Make a folder and what is missing above it. An existing folder stays as it is.

    Raises `OSError`.
    """
    missing = []
    for place in (folder, *folder.parents):
        if place.exists():
            break
        missing.append(place)
    for place in reversed(missing):
        with contextlib.suppress(FileExistsError):  # Another process makes it as well.
            place.mkdir(FOLDER)
            place.chmod(FOLDER)  # The umask of this process may take the owner's own rights.
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")


def open_private(path: Path, flags: int = os.O_RDWR) -> int:
    """Open a file, and make it if it is missing; returns its descriptor. Raises `OSError`.

    An existing file is narrowed. A device or a pipe stays as it is.
    """
    is_new = True
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE)
    except FileExistsError:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, FILE)
        is_new = False
    try:
        if is_new:
            os.fchmod(descriptor, FILE)  # The umask may have taken the owner's own rights.
        else:
            _narrow(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def narrow(paths: Iterable[Path]) -> None:
    """Narrow existing files and folders to their owner. Missing ones are left out.

    Raises `PermissionError` for one that is open to others and belongs to another user.
    """
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            _narrow(path, path)


def _narrow(target: int | Path, path: Path) -> None:
    found = os.stat(target)  # noqa: PTH116 - also of a descriptor
    mode = stat.S_IMODE(found.st_mode)
    if not mode & OTHERS or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return
    try:
        os.chmod(target, mode & ~OTHERS)  # noqa: PTH101 - also of a descriptor
    except PermissionError as error:
        raise PermissionError(
            f"{path} is open to other users (mode {mode:o}) and belongs to user {found.st_uid}"
        ) from error
    LOGGER.warning(
        "%s was open to other users (mode %o). Now its mode is %o.", path, mode, mode & ~OTHERS
    )


def write_private(path: Path, text: str) -> None:
    """Write a text into a file that only its owner can read. Raises `OSError`."""
    with open(open_private(path, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
        file.write(text)
