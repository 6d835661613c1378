"""One fault: a system and its work, the fault in the middle, and what came of it."""

import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, assert_never, final

from . import readings
from .cluster import ADDRESS, Cluster, RehearsalFailed, until
from .faults import Act, Fault, Target
from .machines import Machine
from .table import Row
from .traces import left_of

__all__ = ["Outage"]

KEYS: Final = tuple(f"key-{number}" for number in range(12))
HOSTS: Final = 3
TASKS: Final = 240
"""Some ten seconds of work for the execution, where nothing breaks."""
START_S: Final = 120.0
BEFORE_S: Final = 3.0
"""All is well for so long before the fault."""
QUIET_S: Final = 3.0
"""An activation that has not acted for so long has ended."""
ENDS_S: Final = 5.0
DELAY_S: Final = 0.1
MOVES_MAX: Final = 10
ROOT: Final = "RootActor"
HOST: Final = "HostActor"


@final
class Outage:
    """One fault on a running cluster."""

    def __init__(self, cluster: Cluster, fault: Fault) -> None:
        self.cluster = cluster
        self.fault = fault
        self.name = f"rehearsed-{fault.name}"
        self.ended_s: dict[str, float] = {}
        """When there were no processes any more, by their kind."""
        self.target = cluster.head
        self.has_begun = False
        """Whether anything has been broken."""
        self.results = cluster.head.home / f"{self.name}.jsonl"

    def rehearse(self) -> Row:
        """Do it. Raises `RehearsalFailed` when nothing could be tried."""
        for machine in self.cluster.nodes:
            for file in ("effects", "tasks"):
                (machine.home / file).unlink(missing_ok=True)
        driver = self._start()
        try:
            self.target = self._target()
            broken_s = time.monotonic()
            self.has_begun = True
            for step in self.fault.steps:
                time.sleep(max(0.0, broken_s + step.after_s - time.monotonic()))
                self._act(step.act)
            until(lambda: self._is_over(broken_s), self.fault.watched_s)
        finally:
            self._tell(driver)
        return self._row(broken_s)

    def _start(self) -> "subprocess.Popen[str]":
        """Start the system and its work, and see that all is well for a while."""
        shutil.copy(Path(__file__).with_name("workload.py"), self.cluster.head.home)
        words = (self.name, self.results.name, str(HOSTS), str(TASKS))
        driver = self.cluster.driver("workload.py", *words)
        if not until(lambda: driver.poll() is not None or bool(self._said("ready")), START_S):
            self._tell(driver)
            raise RehearsalFailed(f"{self.name} has not started: drivers.log")
        if driver.poll() is not None:
            raise RehearsalFailed(f"the driver of {self.name} has ended: drivers.log")
        time.sleep(BEFORE_S)
        return driver

    def _lines(self) -> Sequence[readings.Line]:
        if not self.results.exists():
            return []
        return readings.lines_of(self.results.read_text(encoding="utf-8"))

    def _said(self, what: str) -> list[readings.Line]:
        return [line for line in self._lines() if line["what"] == what]

    def _effects(self) -> list[readings.Line]:
        """Of all machines, also of those that are cut off."""
        found: list[readings.Line] = []
        for machine in self.cluster.nodes:
            file = machine.home / "effects"
            if file.exists():
                found += readings.lines_of(file.read_text(encoding="utf-8"))
        return sorted(found, key=lambda line: float(line["at_s"]))

    def _target(self) -> Machine:
        """The machine that the fault is for."""
        head, *workers = self.cluster.nodes
        match self.fault.target:
            case Target.HEAD:
                return head
            case Target.ROOT:
                return self._root_on_a_worker()
            case Target.WORKER:
                traces = self.cluster.traces()
                for worker in workers:
                    if set(traces[worker.name].hosts) == {HOST}:
                        return worker
                places = {name: found.hosts for name, found in traces.items()}
                raise RehearsalFailed(f"no worker has hosts and not the root: {places}")
            case _:
                assert_never(self.fault.target)

    def _root_on_a_worker(self) -> Machine:
        """Ray starts the root on any node; one on the head is killed, and comes back on any."""
        head, *workers = self.cluster.nodes
        for _ in range(MOVES_MAX):
            until(lambda: any(self._has_root(node) for node in self.cluster.nodes), START_S)
            for worker in workers:
                if self._has_root(worker):
                    time.sleep(BEFORE_S)
                    return worker
            for process_id, line in head.processes().items():
                if line.startswith("ray::") and ROOT in line:
                    self.cluster.kill(process_id)
            until(lambda: not self._has_root(head), START_S)
        raise RehearsalFailed("Ray has never started the root on a worker")

    def _has_root(self, machine: Machine) -> bool:
        return machine.is_on and ROOT in self.cluster.traces()[machine.name].hosts

    def _act(self, act: Act) -> None:
        match act:
            case Act.CUT:
                self.cluster.network.cut(self.target)
            case Act.MEND:
                self.cluster.network.mend(self.target)
            case Act.SLOW:
                self.cluster.network.delay(DELAY_S)
            case Act.FAST:
                self.cluster.network.delay(0.0)
            case Act.KILL:
                self.target.kill()
            case Act.KILL_CONTROL_STORE:
                self.cluster.kill_control_store()
            case Act.RAY_DOWN:
                self.cluster.by_page("5.", "ray down")
            case _:
                assert_never(act)

    def _is_over(self, broken_s: float) -> bool:
        """Whether there is nothing more to see."""
        lines = self._lines()
        if self.fault.ends_the_system:
            return self._all_have_ended()
        if readings.went_on_at_s(lines, KEYS, broken_s + self.fault.lasts_s) is None:
            return False
        if not any(line["what"] in {"executed", "not_executed"} for line in lines):
            return False
        return readings.acting(self._effects(), time.monotonic() - QUIET_S) <= len(KEYS)

    def _all_have_ended(self) -> bool:
        """Note which kinds of processes have ended; true when all have."""
        traces = self.cluster.traces().values()
        for kind, is_there in (
            ("hosts", any(trace.hosts for trace in traces)),
            ("Ray", any(trace.ray for trace in traces)),
        ):
            if is_there:
                self.ended_s.pop(kind, None)
            else:
                self.ended_s.setdefault(kind, time.monotonic())
        return len(self.ended_s) == 2

    def _tell(self, driver: "subprocess.Popen[str]") -> None:
        """Tell the driver to end, and see to it."""
        assert driver.stdin
        with suppress(OSError):
            driver.stdin.write("over\n")
            driver.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            driver.wait(30.0)
            return
        for process_id, line in self.cluster.head.processes().items():
            if f" workload.py {self.name} " in line:
                self.cluster.kill(process_id)
        driver.wait()

    def _row(self, broken_s: float) -> Row:
        lines, effects = self._lines(), self._effects()
        noticed_s = readings.noticed_at_s(lines, self.target.name, broken_s)
        went_on_s = readings.went_on_at_s(lines, KEYS, broken_s)
        two_s = readings.two_at_once_s(effects)
        problems = [*readings.problems_of_keys(lines), *readings.problems_of_fences(effects)]
        took_s = None
        if self.fault.ends_the_system:
            went_on_s = None
            if "hosts" in self.ended_s:
                took_s = self.ended_s["hosts"] - broken_s
            else:
                problems.append("hosts have not ended")
        else:
            problems += readings.problems_of_execution(lines, TASKS)
            if went_on_s is None:
                problems.append("not all keys have answered again")
            if two_s > 0:
                problems.append("a key was active twice")
        return Row(
            self.fault.says,
            noticed_s=None if noticed_s is None else noticed_s - broken_s,
            went_on_s=None if went_on_s is None else went_on_s - broken_s,
            two_at_once_s=two_s,
            problems=problems,
            left=self._left(broken_s),
            took_s=took_s,
        )

    def _left(self, broken_s: float) -> list[str]:
        """Stop the system, and say what it leaves."""
        if self.fault.ends_the_system:
            if "Ray" in self.ended_s:
                ray = [f"Ray's processes for {self.ended_s['Ray'] - broken_s:.0f} s"]
            else:
                ray = [
                    f"{', '.join(sorted(set(traces.ray)))} on {name}"
                    for name, traces in self.cluster.traces().items()
                    if traces.ray
                ]
            return [*ray, *left_of(self.cluster.traces())]
        try:
            self.cluster.on_head(f"callboard down {self.name} --address {ADDRESS}")
        except RehearsalFailed as error:
            return [f"the system: {error}"]
        until(lambda: not left_of(self.cluster.traces()), ENDS_S)
        return left_of(self.cluster.traces())
