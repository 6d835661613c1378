"""What a rehearsal needs of the machine that it runs on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from .separate import separately

__all__ = ["PROGRAMS", "WHEELS", "what_is_missing"]

PROGRAMS: Final = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "rsync": "rsync",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "setpriv": "util-linux",
    "/usr/sbin/sshd": "openssh-server",
    "unshare": "util-linux",
}
"""The programs, and the packages that have them on Debian and Ubuntu."""
WHEELS: Final = ("dist", "wheelhouse")
"""The folders of the clone that nodes are installed from."""


def _makes_namespaces() -> bool:
    """Whether this root may make namespaces and a bridge: in most containers it may not."""
    words = separately(["ip", "link", "add", "bridge", "type", "bridge"])
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def what_is_missing(
    clone: Path,
    *,
    wheels: Sequence[str] = WHEELS,
    platform: str = sys.platform,
    user_id: int | None = None,
    which: Callable[[str], str | None] = shutil.which,
    makes_namespaces: Callable[[], bool] = _makes_namespaces,
) -> str:
    """The reason why a rehearsal cannot run here; empty if it can."""
    if platform != "linux":
        return "it needs the namespaces of Linux"
    if (os.getuid() if user_id is None else user_id) != 0:
        return "it needs root, for network namespaces"
    missing = [program for program in PROGRAMS if which(program) is None]
    if missing:
        packages = " ".join(sorted({PROGRAMS[program] for program in missing}))
        return f"{', '.join(missing)} not found (apt-get install {packages})"
    if not makes_namespaces():
        return "this root may not make namespaces and a bridge (CAP_SYS_ADMIN, CAP_NET_ADMIN)"
    for folder in wheels:
        if not list((clone / folder).glob("*.whl")):
            return f"no wheels in {folder} (make wheelhouse)"
    return ""
