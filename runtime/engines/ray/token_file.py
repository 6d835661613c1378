"""Ray's token file is private before Ray reads it.

Who can read the token can run code as its owner. Ray writes the file with the process's usual
permissions, which let every user of the machine read it, and does not look at them later.
"""

import contextlib
import importlib
import logging
import os
import pathlib
import secrets
import sys
import tempfile
from collections.abc import Mapping
from typing import Any, Final

from callboard.messages.core.errors import ClusterError

from ...doctor.token import OTHERS_MAY_READ, default_token_file, token_file

__all__ = ["make_private", "show_token", "use_token"]

LOGGER: Final = logging.getLogger("callboard.ray")
TOKEN_BYTES: Final = 32


def use_token() -> None:
    """Let an embedded Ray have a private token, unless `RAY_AUTH_MODE` says otherwise.

    Raises `ClusterError` for a file that others can read and this user cannot change, and `OSError`
    when no file can be written.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").strip().lower() == "token":
        make_private(os.environ, pathlib.Path.home(), writes=True)


def show_token(*, is_wanted: bool) -> None:
    """Let Ray's client show the token to a cluster that wants one, and to no other.

    Raises as `use_token`.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "").strip().lower()
    if mode not in {"", "token"}:
        return
    make_private(os.environ, pathlib.Path.home(), writes=False)
    if is_wanted and not mode:
        os.environ["RAY_AUTH_MODE"] = "token"
        # Ray reads its environment at import, and again only on this call.
        raylet: Any = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")


def make_private(environment: Mapping[str, str], home: pathlib.Path, *, writes: bool) -> bool:
    """Whether there is a token; if it is in a file, only this user can read it afterwards.

    With `writes`, a missing default file is written. Raises as `use_token`.
    """
    file = token_file(environment, home)
    if file is None:
        return True
    try:
        found = file.stat()
    except FileNotFoundError:
        if file != default_token_file(home):
            return True  # Ray says what is wrong with a file that was named.
        if writes:
            _write(file)
        return writes
    mode = found.st_mode & 0o777
    if sys.platform != "win32" and mode & OTHERS_MAY_READ:
        _repair(file, mode, is_mine=found.st_uid == os.getuid())
    return True


def _write(file: pathlib.Path) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent)  # Only this user can read it.
    try:
        with os.fdopen(descriptor, "w") as written:
            written.write(secrets.token_hex(TOKEN_BYTES))
        # The whole file appears at once, and never replaces one that another process has written.
        with contextlib.suppress(FileExistsError):
            os.link(name, file)
    finally:
        pathlib.Path(name).unlink()


def _repair(file: pathlib.Path, mode: int, *, is_mine: bool) -> None:
    with contextlib.suppress(OSError):
        if is_mine:
            file.chmod(0o600)
            LOGGER.warning(
                "other users could read Ray's token in %s (mode %03o); now they cannot (600). If "
                "they may have, remove the file while no Ray of yours runs: the next start writes "
                "another token.",
                file,
                mode,
            )
            return
    raise ClusterError(
        f"other users can read Ray's token in {file} (mode {mode:03o}), and this user cannot "
        "change that.",
        advice=f"Let its owner run `chmod 600` on it, or set RAY_AUTH_TOKEN instead of {file}.",
    )
