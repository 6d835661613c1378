"""Whether Ray's token authentication is set up correctly; otherwise Ray aborts.

Ray takes the token from RAY_AUTH_TOKEN, else from the file that RAY_AUTH_TOKEN_PATH names, else
from ~/.ray/auth_token. Invariant: no finding contains a token or a part of one.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from callboard.messages.core.names import shell_command

from .check import Check, Status

__all__ = ["OTHERS_MAY_READ", "SOURCES", "check_token", "default_token_file", "token_file"]

NAME: Final = "token"
GENERATE: Final = "Generate one: ray get-auth-token --generate."
SOURCES: Final = "RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, or ~/.ray/auth_token"
"""Where Ray looks for the token, in this order."""
OTHERS_MAY_READ: Final = 0o077
"""The bits of a file's mode that let other users at it."""


def default_token_file(home: Path) -> Path:
    """The file that Ray reads when no environment variable names a token."""
    return home / ".ray" / "auth_token"


def token_file(environment: Mapping[str, str], home: Path) -> Path | None:
    """The file from which Ray reads the token; None when an environment variable has the token."""
    if environment.get("RAY_AUTH_TOKEN", "").strip():
        return None
    named = environment.get("RAY_AUTH_TOKEN_PATH", "").strip()
    return Path(named).expanduser() if named else default_token_file(home)


def check_token(environment: Mapping[str, str], home: Path, *, joining: bool) -> Check:
    """Check mode and token. `joining` means that the driver uses a running cluster by address.

    A local Ray turns authentication on, and Callboard writes a missing token for it. A cluster has
    a token already, which Callboard shows if the cluster wants one.
    """
    mode = environment.get("RAY_AUTH_MODE", "").strip().lower()
    if mode == "disabled":
        return Check(
            NAME,
            Status.WARN,
            "RAY_AUTH_MODE=disabled: everybody who reaches the ports can run code",
            "Set RAY_AUTH_MODE=token, on every node and for the driver.",
        )
    if mode not in {"", "token"}:
        return Check(
            NAME,
            Status.FAIL,
            f"RAY_AUTH_MODE={mode} is not supported by Callboard",
            "Set RAY_AUTH_MODE=token, on every node and for the driver.",
        )
    return _check_source(environment, home, mode=mode, joining=joining)


def _check_source(environment: Mapping[str, str], home: Path, *, mode: str, joining: bool) -> Check:
    file = token_file(environment, home)
    if file is None:
        return Check(NAME, Status.OK, "in RAY_AUTH_TOKEN")
    if file != default_token_file(home):
        return _check_file(file, "RAY_AUTH_TOKEN_PATH names")
    if file.exists():
        return _check_file(file, "the default is")
    if joining:
        return Check(
            NAME,
            Status.FAIL if mode == "token" else Status.WARN,
            f"none: no RAY_AUTH_TOKEN, no RAY_AUTH_TOKEN_PATH, no {file}",
            f"Copy the cluster's token to {file} (mode 600).",
        )
    nearest = file.parent if file.parent.exists() else home
    if not os.access(nearest, os.W_OK):
        return Check(
            NAME,
            Status.FAIL,
            f"none, and none can be written: {nearest} is not writable",
            "Set RAY_AUTH_TOKEN to a long random text, or make the folder writable.",
        )
    return Check(NAME, Status.OK, "none yet; the first start of a local Ray writes one")


def _check_file(file: Path, which: str) -> Check:
    try:
        empty = not file.read_text(encoding="utf-8").strip()
        found = file.stat()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        return Check(
            NAME,
            Status.FAIL,
            f"{which} {file}, which cannot be read: {reason}",
            f"Make it a readable text file, or unset the variable. {GENERATE}",
        )
    if empty:
        return Check(
            NAME,
            Status.FAIL,
            f"{which} {file}, which is empty: Ray aborts",
            f"Remove it. {GENERATE}",
        )
    if sys.platform != "win32" and found.st_mode & OTHERS_MAY_READ:
        readable = f"{file} may be read by other users (mode {found.st_mode & 0o777:03o})"
        if found.st_uid != os.getuid():
            advice = "Let its owner run `chmod 600` on it, or set RAY_AUTH_TOKEN."
            return Check(NAME, Status.FAIL, f"{readable}, and this user cannot change that", advice)
        repair = shell_command("chmod 600", str(file))
        advice = f"Run `{repair}` (the next start does it, too). If another user may have "
        return Check(NAME, Status.WARN, readable, f"{advice}read it, make another token.")
    return Check(NAME, Status.OK, f"in {file}")
