"""Run one bench: our side and the peers, one after another, in rounds.

A round runs every side once, so that a slow minute of the machine affects all of them. The figures
are the medians over the rounds. Every side is reported: as measured, absent (with the reason) or
failed (with the reason).
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from bench.child import ChildResult, run_child
from bench.comparison import medians, ratios_against
from bench.outcome import Params
from bench.registry import Bench, Side, missing, versions

__all__ = ["REPEAT_MAX", "Report", "SideReport", "Status", "run_bench"]

REPEAT_MAX = 99
STDERR_LINES_SHOWN = 12
SMOKE_TIMEOUT_S = 90.0
REPOSITORY = Path(__file__).resolve().parent.parent

Status: TypeAlias = Literal["measured", "absent", "failed"]
Progress: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SideReport:
    """The result of one side after all rounds. `reason` is empty when it was measured."""

    name: str
    status: Status
    params: Params
    reason: str = ""
    results: Mapping[str, float] = field(default_factory=dict)
    rounds: tuple[Mapping[str, float], ...] = ()
    check: str = ""
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    cannot: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """One run of one bench: our side, every peer, and the ratios of the measured ones."""

    bench: str
    question: str
    smoke: bool
    repeat: int
    ours: SideReport
    peers: tuple[SideReport, ...]

    @property
    def ratios(self) -> dict[str, float]:
        """Our figure over the peer's, by `peer.figure`. Above 1 is better."""
        if self.ours.status != "measured":
            return {}
        return {
            name: value
            for peer in self.peers
            if peer.status == "measured"
            for name, value in ratios_against(peer.name, self.ours.results, peer.results).items()
        }

    @property
    def failures(self) -> tuple[SideReport, ...]:
        """The sides that failed. An absent side has not failed."""
        return tuple(side for side in (self.ours, *self.peers) if side.status == "failed")


def run_bench(
    bench: Bench,
    *,
    smoke: bool,
    repeat: int,
    all_peers: bool,
    progress: Progress = lambda _line: None,
) -> Report:
    """Run our side and the peers for `repeat` rounds and compare them.

    Without `all_peers` only the peers that always run take part. A side that fails once does not
    run again, and is reported with the reason.

    Raises:
        ValueError: if `repeat` is not within 1 to `REPEAT_MAX`.
    """
    if not 1 <= repeat <= REPEAT_MAX:
        msg = f"repeat is within 1 to {REPEAT_MAX}, not {repeat}"
        raise ValueError(msg)
    peers = tuple(peer for peer in bench.peers if all_peers or peer.always)
    runs = [_SideRuns(side, bench, smoke=smoke) for side in (bench.ours, *peers)]
    for number in range(1, repeat + 1):
        for side_runs in runs:
            if not side_runs.ended:
                progress(f"{bench.name}: round {number} of {repeat}: {side_runs.side.name}")
                side_runs.run_once()
    ours, *others = (side_runs.report() for side_runs in runs)
    return Report(bench.name, bench.question, smoke, repeat, ours, tuple(others))


class _SideRuns:
    """The rounds of one side, until it is absent or fails."""

    def __init__(self, side: Side, bench: Bench, *, smoke: bool) -> None:
        self.side = side
        self._bench = bench
        self._params = side.params(smoke=smoke)
        self._timeout_s = min(bench.timeout_s, SMOKE_TIMEOUT_S) if smoke else bench.timeout_s
        self._rounds: list[dict[str, float]] = []
        self._notes: tuple[str, ...] = ()
        self._absent = missing(side.requires)
        self._failure: str | None = None
        self._expected = "" if self._absent else bench.expected_check(self._params)

    @property
    def ended(self) -> bool:
        return self._absent is not None or self._failure is not None

    def run_once(self) -> None:
        command = (
            sys.executable,
            *("-m", self.side.module, self._bench.name),
            *("--params", json.dumps(dict(self._params))),
        )
        child = run_child(
            command,
            cwd=REPOSITORY,
            timeout_s=self._timeout_s,
            environment=self._bench.environment,
        )
        answer = _answer_of(child)
        self._failure = self._failure_of(child, answer)
        if answer is not None and self._failure is None:
            self._rounds.append(answer["results"])
            self._notes = tuple(answer["notes"])

    def _failure_of(self, child: ChildResult, answer: dict[str, Any] | None) -> str | None:
        if child.returncode is None:
            return f"no end within {self._timeout_s:g} s; it was killed"
        if child.returncode != 0:
            return f"exit code {child.returncode}: {_last_lines(child.stderr)}"
        if answer is None:
            return f"no outcome on its standard output: {_last_lines(child.stdout)}"
        if answer["check"] != self._expected:
            return f"wrong output: check {answer['check']}, expected {self._expected}"
        if child.leftovers:
            return f"it left {child.leftovers} processes behind; they were killed"
        return None

    def report(self) -> SideReport:
        name, params = self.side.name, self._params
        if self._absent is not None:
            return SideReport(name, "absent", params, self._absent)
        found = versions(self.side.requires)
        if self._failure is not None:
            return SideReport(name, "failed", params, self._failure, versions=found)
        return SideReport(
            name,
            "measured",
            params,
            results=medians(self._rounds),
            rounds=tuple(self._rounds),
            check=self._expected,
            notes=self._notes,
            versions=found,
            cannot=self.side.cannot,
        )


def _answer_of(child: ChildResult) -> dict[str, Any] | None:
    """The outcome that a side printed, or None if it is invalid."""
    lines = child.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        return None
    complete = isinstance(answer, dict) and {"results", "check", "notes"} <= answer.keys()
    return answer if complete else None


def _last_lines(text: str) -> str:
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-STDERR_LINES_SHOWN:]) or "(nothing was printed)"
