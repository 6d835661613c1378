"""The first process of one machine of the rehearsal: it makes the machine, and ends with it.

`unshare` starts it in namespaces of its own, where its process id is 1. So all processes of the
machine end when it ends, and nothing that it mounts is seen elsewhere. It says `ready` when its
mounts are made, waits for a line (the network is there), and then starts the machine's sshd.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["HELD", "LOGIN", "SHARED", "home_of", "kept_paths"]

LOGIN: Final = "ubuntu"
"""The login of each machine, that of `cluster.yaml`. Its home is new, and its user id that of root:
the machine's Python may lie where no other user can read it."""
HELD: Final = Path("/mnt")
"""A file system in memory, only in this namespace, which holds what other mounts would hide."""
SHARED: Final = HELD / "shared"
"""One folder that all machines see, also those that are cut off: it stands for a store and for an
outside service that every machine reaches."""
HIDDEN: Final = (Path("/tmp"), Path("/home"), Path("/run"))
"""The folders in whose place a machine has its own."""


def home_of(login: str = LOGIN) -> Path:
    """The home of the login, as its machine sees it."""
    return Path("/home") / login


def kept_paths(needed: Sequence[Path]) -> list[Path]:
    """The paths among `needed` that a machine's own folders would hide, each once."""
    inside = [path for path in needed if any(path.is_relative_to(top) for top in HIDDEN)]
    return [
        path
        for path in dict.fromkeys(inside)
        if not any(path != other and path.is_relative_to(other) for other in inside)
    ]


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def _make(folder: Path, shared: Path, needed: Sequence[Path]) -> None:
    """Mount the machine's own folders and files, from `folder`, over those of the real one."""
    socket.sethostname(folder.name)
    kept = kept_paths([*needed, folder, shared])
    _mount("-t", "tmpfs", "tmpfs", HELD)
    for number, path in enumerate(kept):
        (HELD / f"kept-{number}").mkdir()
        _mount("--rbind", path, HELD / f"kept-{number}")
    SHARED.mkdir()
    _mount("--bind", shared, SHARED)
    for name in ("passwd", "hosts", "resolv.conf"):
        _mount("--bind", folder / name, Path("/etc") / name)
    _mount("--bind", folder / "boot_id", "/proc/sys/kernel/random/boot_id")
    _mount("-t", "tmpfs", "tmpfs", "/dev/shm")
    configuration = (folder / "sshd_config").read_bytes()
    here = os.open(folder, os.O_PATH)
    _mount("-t", "tmpfs", "tmpfs", "/run")
    for name in ("home", "tmp"):
        subprocess.run(
            ["mount", "--bind", f"/proc/self/fd/{here}/{name}", f"/{name}"],
            check=True,
            pass_fds=[here],
        )
    for number, path in enumerate(kept):
        path.mkdir(parents=True, exist_ok=True)
        _mount("--rbind", HELD / f"kept-{number}", path)
    Path("/run/sshd").mkdir(mode=0o755)
    Path("/run/sshd_config").write_bytes(configuration)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _main(folder: Path, shared: Path, *needed: Path) -> None:
    _make(folder, shared, needed)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", "/run/sshd_config"])
    while True:  # The first process takes over the orphans of its machine, and buries them.
        os.wait()


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))
