"""The folder of this user on this machine for sockets and small files, which no other can enter.

It belongs to the machine and is not `CALLBOARD_HOME`, which many machines may share, and which may
differ between a driver and Ray's workers.
"""

import contextlib
import os
import pathlib
import tempfile

__all__ = ["own_folder", "private_folder"]


def private_folder() -> pathlib.Path:
    """Its path; the folder may not exist."""
    return pathlib.Path(tempfile.gettempdir()) / f"callboard-{os.getuid()}"


def own_folder() -> pathlib.Path:
    """The folder, made if it is missing. Raises `OSError` for one that others can enter."""
    folder = private_folder()
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"other users can enter {folder}")
    return folder
