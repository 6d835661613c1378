"""Two machines, without Ray: what `test_machines.py` looks at, in namespaces of its own."""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from .machines import Machine, Network

__all__: list[str] = []

ADDRESSES: Final = {"one": "192.0.2.10", "two": "192.0.2.11"}
CONNECT: Final = (
    "import socket, sys, time; began = time.monotonic();"
    "socket.create_connection((sys.argv[1], 22), timeout=1.0);"
    "print(time.monotonic() - began)"
)
FACTS: Final = "hostname; cat /proc/sys/kernel/random/boot_id; echo $HOME; ls -A /tmp; whoami"


def _connect_s(a: Machine, b: Machine) -> float | None:
    """How long a connection from one machine to another takes; None where there is none."""
    done = a.run([sys.executable, "-c", CONNECT, b.address], timeout_s=10.0)
    return float(done.stdout) if done.returncode == 0 else None


def _wait_for_sshd(a: Machine, b: Machine) -> float:
    for _ in range(100):
        if (took_s := _connect_s(a, b)) is not None:
            return took_s
        time.sleep(0.1)
    raise RuntimeError(f"no sshd on {b.name}")


def _main(folder: Path) -> None:
    key, shared = folder / "key", folder / "shared"
    shared.mkdir()
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(words, check=True)
    network = Network()
    machines = [Machine(folder / name, address, shared) for name, address in ADDRESSES.items()]
    for machine in machines:
        machine.write(ADDRESSES, key)
        machine.start(network)
    one, two = machines
    said: dict[str, Any] = {"together_s": _wait_for_sshd(one, two)}
    for machine in machines:
        done = machine.run(["bash", "-c", FACTS], check=True)
        said[machine.name] = done.stdout.split()
    network.cut(two)
    said["cut_s"] = _connect_s(one, two)
    network.mend(two)
    said["mended_s"] = _connect_s(one, two)
    network.delay(0.1)
    said["delayed_s"] = _connect_s(one, two)
    network.delay(0.0)
    said["at_once_s"] = _connect_s(one, two)
    said["processes"] = sorted(line.split()[0] for line in two.processes().values())
    two.kill()
    said["killed_s"] = _connect_s(one, two)
    two.start(network)
    said["back_s"] = _wait_for_sshd(one, two)
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        sys.stdin.read()


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
