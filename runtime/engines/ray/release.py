"""The releases that a process runs. All processes of one system have the same.

Messages between hosts have versions; what Callboard's own processes say to each other has none, so
that they must be of one release, and of the same code where it is changed without a new release
(an editable checkout). This module imports nothing of Callboard: Ray ships it by value to nodes
that have another release, or none.
"""

import functools
import hashlib
import importlib
import os
import sys
from typing import Any, Final, NamedTuple

__all__ = ["Release", "installed", "release_of", "this_release"]

NONE: Final = "none"


class Release(NamedTuple):
    """What one process runs."""

    callboard: str
    code: str
    """A digest of Callboard's modules, which differs between two checkouts of one release."""
    python: str
    """Major and minor version: Callboard needs no more."""
    ray: str

    @property
    def text(self) -> str:
        """The releases, for people."""
        code = f" (code {self.code})" if self.code else ""
        return f"Callboard {self.callboard}{code}, Python {self.python}, Ray {self.ray}"


def release_of(data: Any) -> Release:
    """The release that another process has reported, whatever release that is."""
    if isinstance(data, tuple | list) and len(data) == len(Release._fields):
        return Release(*map(str, data))
    return Release(str(data) if isinstance(data, str) else "of an earlier release", "", "?", "?")


@functools.cache
def this_release() -> Release:
    """The releases of this process. The first call reads Callboard's modules: 20 ms."""
    return Release(*installed())


def installed() -> tuple[str, str, str, str]:
    """The fields of the `Release` of this process; "none" for what is not installed."""
    python = ".".join(map(str, sys.version_info[:2]))
    callboard, code, ray = NONE, "", NONE
    try:
        package = importlib.import_module("callboard")
        callboard = str(package.__version__)
        code = _digest(os.path.dirname(str(package.__file__)))  # noqa: PTH120 - ships by value
    except Exception as error:  # noqa: BLE001 - a broken installation may raise anything
        code = "" if callboard == NONE else f"unreadable: {error!r}"
    try:
        ray = str(importlib.import_module("ray").__version__)
    except Exception:  # noqa: BLE001 - as above
        ray = NONE
    return callboard, code, python, ray


def _digest(folder: str) -> str:
    """A digest of all modules below a folder: their names and their text."""
    found, ahead = [], [folder]
    while ahead:
        with os.scandir(ahead.pop()) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    found.append(entry.path)
                elif entry.name != "__pycache__" and entry.is_dir():
                    ahead.append(entry.path)
    digest = hashlib.blake2b(digest_size=4)
    for path in sorted(found):
        digest.update(path[len(folder) :].encode())
        with open(path, "rb") as file:  # noqa: PTH123 - ships by value
            digest.update(file.read())
    return digest.hexdigest()
