"""Machines in namespaces, each with its own processes, network, home, /tmp, host name and boot id.

They hang on one bridge in the network namespace of the rehearsal, which leads nowhere. A machine
ends with its first process.
"""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from .space import LOGIN, home_of

__all__ = ["Machine", "Network"]

BRIDGE: Final = "bridge"
GATEWAY: Final = "192.0.2.1"
PREFIX: Final = 24
SSHD: Final = """\
ListenAddress {address}:22
HostKey {home}/.ssh/host_key
AuthorizedKeysFile {home}/.ssh/authorized_keys
PidFile none
PermitRootLogin yes
PasswordAuthentication no
StrictModes no
UsePAM no
MaxStartups 100
MaxSessions 100
"""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@final
class Network:
    """The bridge, and what happens to the lines that lead to it."""

    def __init__(self) -> None:
        self._ports: dict[str, str] = {}
        self._relay: subprocess.Popen[bytes] | None = None
        _ip("link", "set", "lo", "up")
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{GATEWAY}/{PREFIX}", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")

    def connect(self, machine: "Machine") -> None:
        """Give a machine its line and its address."""
        port = f"port-{machine.name}"
        with suppress(subprocess.CalledProcessError):  # Of a machine that has just been killed.
            _ip("link", "del", port)
        peer = ("peer", "name", "eth0", "netns", str(machine.pid))
        _ip("link", "add", port, "type", "veth", *peer)
        _ip("link", "set", port, "master", BRIDGE, "up")
        for words in (
            ("addr", "add", f"{machine.address}/{PREFIX}", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            # Ray asks for the way to the world to learn its own address; it leads nowhere.
            ("route", "add", "default", "via", GATEWAY),
        ):
            machine.run(["ip", *words], check=True)
        self._ports[machine.name] = port

    def cut(self, machine: "Machine") -> None:
        """Drop everything from and to a machine. Its own end of the line stays up."""
        _ip("link", "set", self._ports[machine.name], "nomaster")

    def mend(self, machine: "Machine") -> None:
        """Let frames through again."""
        _ip("link", "set", self._ports[machine.name], "master", BRIDGE)

    def delay(self, delay_s: float) -> None:
        """Let each frame between machines arrive so much later; 0 for at once."""
        if self._relay is not None:
            self._relay.kill()
            self._relay.wait()
            self._relay = None
        for port in self._ports.values():
            _ip("link", "set", port, *(["nomaster"] if delay_s else ["master", BRIDGE]))
        if delay_s:
            module = f"{__package__}.relay"
            words = [sys.executable, "-m", module, str(delay_s), *self._ports.values()]
            self._relay = subprocess.Popen(words, stdout=subprocess.PIPE)
            assert self._relay.stdout
            self._relay.stdout.readline()


@final
class Machine:
    """One machine; `start` makes its processes, `kill` ends them, `folder` is its disk."""

    def __init__(self, folder: Path, address: str, shared: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.address = address
        self.pid = 0
        """Of its first process, while it runs."""
        self._shared = shared
        self._init: subprocess.Popen[str] | None = None

    @property
    def is_on(self) -> bool:
        """Whether its first process runs."""
        return self._init is not None

    @property
    def home(self) -> Path:
        """The home of its login, seen from outside, also when the machine is cut off or off."""
        return self.folder / home_of().relative_to("/")

    def write(self, names: Mapping[str, str], key: Path) -> None:
        """Write the files that make it a machine: `names` are the addresses of all."""
        home, ssh = self.home, self.home / ".ssh"
        for made in (ssh, self.folder / "tmp"):
            made.mkdir(parents=True)
        ssh.chmod(0o700)
        (self.folder / "tmp").chmod(0o1777)
        login = f"{LOGIN}:x:0:0::{home_of()}:/bin/bash\n"
        files = {
            "passwd": login + Path("/etc/passwd").read_text(encoding="utf-8"),
            "hosts": "127.0.0.1 localhost\n"
            + "".join(f"{address} {name}\n" for name, address in names.items()),
            "resolv.conf": "",
            "sshd_config": SSHD.format(address=self.address, home=home_of()),
        }
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        python = Path(sys.base_prefix) / "bin"
        (home / ".bashrc").write_text(f'export PATH="{python}:$PATH"\n', encoding="utf-8")
        (home / ".profile").write_text(". ~/.bashrc\n", encoding="utf-8")
        (ssh / "authorized_keys").write_bytes(key.with_suffix(".pub").read_bytes())
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh / "host_key")]
        subprocess.run(words, check=True)

    def start(self, network: Network) -> None:
        """Switch it on: a new boot id, new processes, and an empty memory."""
        (self.folder / "boot_id").write_text(f"{uuid.uuid4()}\n", encoding="utf-8")
        # The clone, and both places of this Python, in case a folder of the machine hides them.
        needed = [Path.cwd(), Path(sys.prefix), Path(sys.base_prefix)]
        separate = ["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"]
        init = [sys.executable, "-m", f"{__package__}.space", self.folder, self._shared, *needed]
        log = (self.folder / "sshd.log").open("a", encoding="utf-8")
        with log:
            self._init = subprocess.Popen(
                ["unshare", *separate, "--mount-proc", *map(str, init)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._init.stdin
        assert self._init.stdout
        if self._init.stdout.readline() != "ready\n":
            raise RuntimeError(f"{self.name} has not come up: {self.folder}/sshd.log")
        outer = self._init.pid
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text(encoding="utf-8")
        self.pid = int(children.split()[0])
        network.connect(self)
        self._init.stdin.write("\n")
        self._init.stdin.flush()

    def words(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` in the machine, as its login."""
        environment = (f"HOME={home_of()}", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        enter = ["nsenter", "--target", str(self.pid), "--all"]
        return [*enter, "env", "-i", f"--chdir={home_of()}", *environment, "LANG=C.UTF-8", *command]

    def run(
        self, command: Sequence[str], *, timeout_s: float = 60.0, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine and wait for it; output and errors come together."""
        return subprocess.run(
            self.words(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=check,
        )

    def processes(self) -> dict[int, str]:
        """Its processes, by their ids in the namespace of the rehearsal, with command lines."""
        space = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if (entry / "ns/pid").readlink() == space:
                        line = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                        found[int(entry.name)] = line.decode(errors="replace").strip()
        return {number: line for number, line in found.items() if line}  # None has ended.

    def kill(self) -> None:
        """End its first process, and so all at once. The kernel still closes their connections."""
        if self._init is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._init.wait()
            self._init = None
