"""The machines of a rehearsal as a cluster: made, brought up by the page's commands, looked at."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final, final

from . import page
from .configuration import Machines, for_machines
from .machines import Machine, Network
from .space import LOGIN
from .traces import Traces, traces_of

__all__ = ["ADDRESS", "CLONE", "Cluster", "RehearsalFailed"]

CLONE: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = CLONE / "out" / "rehearsal"
HEAD: Final = "head"
WORKERS: Final = ("worker-1", "worker-2")
OPERATOR: Final = "operator"
"""The machine of the person who calls `ray up`: no part of the cluster."""
ADDRESSES: Final = {
    HEAD: "192.0.2.10",
    "worker-1": "192.0.2.11",
    "worker-2": "192.0.2.12",
    OPERATOR: "192.0.2.100",
}
"""Those of the page, so that its commands can be run as they stand. They are documentation's, and
reach nothing outside the rehearsal."""
KEY: Final = "callboard_cluster"
ADDRESS: Final = f"{ADDRESSES[HEAD]}:6379"
NODES: Final = f"""
from ray._raylet import GcsClient
for number, node in GcsClient(address='{ADDRESS}').get_all_node_info(timeout=20).items():
    if node.state == 0:
        print(f'{{number.hex()}}={{node.node_manager_address}}')
"""
"""A driver would start two workers on the head each time that it asks."""
KEPT: Final = "home/{login}/callboard-venv"
"""What a next rehearsal may use again: Ray takes a minute to install."""
ANALYSERS: Final = ("bandit", "radon", "ruff", "vulture")
UP_S: Final = 600.0
JOIN_S: Final = 200.0
SHOWN: Final = 200
QUERY_EVERY_S: Final = 0.3


class RehearsalFailed(Exception):
    """The rehearsal itself cannot go on."""


def until(holds: Callable[[], bool], limit_s: float, every_s: float = QUERY_EVERY_S) -> bool:
    """Wait until something holds; False when it does not within the limit."""
    end_s = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > end_s:
            return False
        time.sleep(every_s)
    return True


@final
class Cluster:
    """Three machines and the operator's."""

    def __init__(self, *, is_fresh: bool = False) -> None:
        self.page = (CLONE / "docs" / "cluster.md").read_text(encoding="utf-8")
        self.shared = FOLDER / "shared"
        self._clear(is_fresh=is_fresh)
        self.shared.mkdir(parents=True)
        self.key = FOLDER / "key"
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)]
        subprocess.run(words, check=True)
        self.network = Network()
        self.machines: Mapping[str, Machine] = {
            name: Machine(FOLDER / name, address, self.shared)
            for name, address in ADDRESSES.items()
        }
        for machine in self.machines.values():
            machine.write(ADDRESSES, self.key)
            machine.start(self.network)
        self.head, self.operator = self.machines[HEAD], self.machines[OPERATOR]
        self.nodes = [self.machines[name] for name in (HEAD, *WORKERS)]
        self._prepare_operator()

    def _clear(self, *, is_fresh: bool) -> None:
        """Remove what an earlier rehearsal has left, but not what takes long to install."""
        kept = FOLDER.with_name("rehearsal-kept")
        if is_fresh:
            shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True, exist_ok=True)
        for name in (HEAD, *WORKERS):
            installed = FOLDER / name / KEPT.format(login=LOGIN)
            if installed.exists() and not is_fresh:
                shutil.rmtree(kept / name, ignore_errors=True)
                installed.rename(kept / name)
        shutil.rmtree(FOLDER, ignore_errors=True)
        for name in (HEAD, *WORKERS):
            if (kept / name).exists():
                installed = FOLDER / name / KEPT.format(login=LOGIN)
                installed.parent.mkdir(parents=True)
                (kept / name).rename(installed)
        kept.rmdir()

    def _prepare_operator(self) -> None:
        """A home with the key, and the repository's root as far as `ray up` sees it."""
        home = self.operator.home
        key = home / ".ssh" / KEY
        shutil.copy(self.key, key)
        key.chmod(0o600)
        root = home / "callboard"
        root.mkdir()
        marked = Machines(
            head=ADDRESSES[HEAD],
            workers=tuple(ADDRESSES[name] for name in WORKERS),
            login=LOGIN,
            key=f"~/.ssh/{KEY}",
            ray_version=version("ray"),
            packages=ANALYSERS,
            is_offline=True,
        )
        text = for_machines((CLONE / "cluster.yaml").read_text(encoding="utf-8"), marked)
        (root / "cluster.yaml").write_text(text, encoding="utf-8")
        for folder in ("dist", "wheelhouse"):
            (root / folder).symlink_to(CLONE / folder)
        shutil.copy(CLONE / "examples" / "quickstart.py", root / "driver.py")
        with (home / ".bashrc").open("a", encoding="utf-8") as file:
            file.write(f'export PATH="{sys.prefix}/bin:$PATH"\ncd ~/callboard\n')

    def by_page(self, heading: str, beginning: str, *, timeout_s: float = 120.0) -> str:
        """Run a command of the page, as it stands there, on the operator's machine."""
        return self.operate(page.command(self.page, heading, beginning), timeout_s=timeout_s)

    def operate(self, script: str, *, timeout_s: float = 120.0) -> str:
        """Run a script on the operator's machine; raises `RehearsalFailed` when it fails."""
        script = f". ~/.bashrc; export RAY_AUTH_MODE=token; set -e\n{script}"
        return self._checked(self.operator, script, timeout_s)

    def on_head(self, script: str, *, timeout_s: float = 120.0) -> str:
        """Run a script on the head; raises `RehearsalFailed` when it fails."""
        return self._checked(self.head, f". ~/.callboard-environment; {script}", timeout_s)

    def _checked(self, machine: Machine, script: str, timeout_s: float) -> str:
        try:
            done = machine.run(["bash", "-c", script], timeout_s=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise RehearsalFailed(f"{script.splitlines()[-1]!r}: {error}") from None
        with (FOLDER / "commands.log").open("a", encoding="utf-8") as log:
            log.write(f"$ {script}\n{done.stdout}\n")
        if done.returncode != 0:
            last = " ".join(done.stdout.split())[-SHOWN:]
            what = script.splitlines()[-1]
            raise RehearsalFailed(f"{what!r} ended with {done.returncode}: {last}")
        return done.stdout

    def driver(self, *words: str) -> subprocess.Popen[str]:
        """Start a driver on the head. It reads lines; what it prints is in `drivers.log`."""
        script = '. ~/.callboard-environment; exec python "$@"'
        with (FOLDER / "drivers.log").open("a", encoding="utf-8") as log:
            return subprocess.Popen(
                self.head.words(["bash", "-c", script, "driver", *words]),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def up(self) -> None:
        """Bring the cluster up, as steps 2 and 3 of the page say, and wait for all its nodes."""
        self.operate("\n".join(page.commands(self.page, "2.")))
        self.by_page("3.", "ray up", timeout_s=UP_S)
        if not self._all_joined(JOIN_S):
            self.by_page("3.", "ray exec")
            raise RehearsalFailed(f"not all machines have joined within {JOIN_S:g} s: commands.log")

    def living_nodes(self) -> Mapping[str, str]:
        """The ids of the nodes that Ray takes for alive, and their addresses."""
        words = self.on_head(f'python -c "{NODES}"').split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def _all_joined(self, limit_s: float, before: Collection[str] = ()) -> bool:
        """Wait until each machine has a living node. Those of `before` do not count."""
        wanted = {node.address for node in self.nodes}

        def all_are_there() -> bool:
            living = self.living_nodes().items()
            return wanted <= {place for node, place in living if node not in before}

        return until(all_are_there, limit_s, 2.0)

    def traces(self) -> Mapping[str, Traces]:
        """What runs and lies on each machine that is on."""
        return {
            machine.name: traces_of(machine.processes(), machine.folder / "tmp")
            for machine in self.nodes
            if machine.is_on
        }

    def kill(self, process_id: int) -> None:
        """End a process by kill -9, by its id in the namespace of the rehearsal."""
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)

    def kill_control_store(self) -> None:
        """End the process that knows everything of Ray's cluster, by kill -9."""
        for process_id, line in self.head.processes().items():
            if "/gcs/gcs_server" in line:
                self.kill(process_id)

    def repair(self, machine: Machine) -> None:
        """Switch a lost machine off and on. The head starts Ray on it again by itself."""
        lost = [node for node, place in self.living_nodes().items() if place == machine.address]
        machine.kill()
        shutil.rmtree(machine.folder / "tmp")
        (machine.folder / "tmp").mkdir(mode=0o1777)
        machine.start(self.network)
        if not self._all_joined(JOIN_S, lost):
            raise RehearsalFailed(f"{machine.name} has not come back within {JOIN_S:g} s")

    def off(self) -> None:
        """End everything."""
        for machine in self.machines.values():
            with suppress(Exception):
                machine.kill()
