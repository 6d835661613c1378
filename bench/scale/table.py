"""The table of `docs/scale.md`, written by `python -m bench scale --table`."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.rounds import Report

__all__ = ["BEGIN", "END", "PAGE", "rows_of", "table_of"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
BEGIN = "<!-- scale table: begin (written by `python -m bench scale --table`) -->"
END = "<!-- scale table: end -->"
NO_FIGURE = "–"
SAID: Mapping[str, str] = {
    "start": "the system starts",
    "join": "a host joins",
    "loss": "a host is lost and replaced",
    "spawn": "an actor with a name starts",
    "pool": "a pool with an agent on each host starts",
    "resize": "a pool gets one agent more",
    "tree": "`callboard tree`",
    "attach": "a driver attaches",
    "adopt": "a new root adopts all hosts",
}
ROUTINGS: Mapping[str, str] = {
    "round_robin": "`ROUND_ROBIN`",
    "least_loaded": "`LEAST_LOADED`",
    "consistent_hash": "`consistent_hash`",
    "keyed": "keyed actors",
}


def table_of(report: Report, machine: Mapping[str, str | int | float]) -> str:
    """The tables of one run, with the machine."""
    results, params = report.ours.results, report.ours.params
    sizes = sorted(count for name, count in params.items() if name.startswith("hosts_"))
    said = ", ".join(f"{name} {value}" for name, value in machine.items())
    lines = [
        *_events(results, sizes),
        "",
        *_routes(results, sizes),
        "",
        *_memory(results, sizes),
        "",
        f"Simulated on: {said}. The growth is between {sizes[-2]:,} and {sizes[-1]:,} hosts.",
    ]
    return "\n".join(lines)


def _events(results: Mapping[str, float], sizes: list[int]) -> Iterator[str]:
    yield (
        "| event | hosts | messages of the root | of all hosts | bytes of the root | Ray calls "
        "| peers named | root's time | each host's time | growth |"
    )
    yield "|---" * 10 + "|"
    for event, text in SAID.items():
        for number, hosts in enumerate(sizes):

            def figure(name: str, event: str = event, hosts: int = hosts) -> float:
                return results.get(f"count_{event}_{name}_{hosts}", 0.0)

            each_us = results[f"{event}_hosts_{hosts}_us"] / hosts
            row = [
                text if not number else "",
                f"{hosts:,}",
                f"{figure('root_messages'):,.0f}",
                f"{figure('host_messages'):,.0f}",
                _bytes(figure("root_bytes")),
                f"{figure('calls'):,.0f}",
                f"{figure('peers'):,.0f}",
                _time(results[f"{event}_root_{hosts}_us"]),
                _time(each_us),
                _growth(results, event) if hosts == sizes[-1] else "",
            ]
            yield f"| {' | '.join(row)} |"


def _growth(results: Mapping[str, float], event: str) -> str:
    """What grows fastest, of all that is counted."""
    names = ("root_messages", "root_bytes", "calls", "peers")
    grown = {
        name: results[key] for name in names if (key := f"exponent_count_{event}_{name}") in results
    }
    if not grown:
        return NO_FIGURE
    most = max(grown, key=lambda name: round(grown[name], 1))
    return f"{most.replace('root_', '')} {grown[most]:.1f}"


def _routes(results: Mapping[str, float], sizes: list[int]) -> Iterator[str]:
    yield "| routing | " + " | ".join(f"{hosts:,} offers: first, each" for hosts in sizes) + " |"
    yield "|---" * (1 + len(sizes)) + "|"
    for routing, text in ROUTINGS.items():
        cells = [
            f"{results[f'route_{routing}_first_{hosts}_ms']:.2f} ms, "
            f"{results[f'route_{routing}_each_{hosts}_us']:.1f} µs"
            for hosts in sizes
        ]
        yield f"| {text} | {' | '.join(cells)} |"


def _memory(results: Mapping[str, float], sizes: list[int]) -> Iterator[str]:
    yield "| memory, and heartbeats | " + " | ".join(f"{hosts:,} hosts" for hosts in sizes) + " |"
    yield "|---" * (1 + len(sizes)) + "|"
    for name, text in (
        ("root_{}_bytes", "the root's objects"),
        ("host_{}_bytes", "one host's objects"),
        ("count_simulator_bytes_{}", "the simulator's process"),
    ):
        cells = [_bytes(results[name.format(hosts)]) for hosts in sizes]
        yield f"| {text} | {' | '.join(cells)} |"
    cells = [_time(results[f"heartbeat_{hosts}_us"]) for hosts in sizes]
    yield f"| the time for one heartbeat, both sides, without Ray's | {' | '.join(cells)} |"
    cells = [f"{results[f'start_took_{hosts}_s']:.1f} s" for hosts in sizes]
    yield f"| the start, at 0.34 ms for each Ray call | {' | '.join(cells)} |"


def _bytes(count: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def _time(us: float) -> str:
    if us >= 1e6:
        return f"{us / 1e6:.1f} s"
    return f"{us / 1e3:.1f} ms" if us >= 1e3 else f"{us:.0f} µs"


def rows_of(text: str) -> list[str]:
    """The events in the table of a page."""
    _, _, rest = text.partition(BEGIN)
    table, _, _ = rest.partition(END)
    said = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    return [event for event, text in SAID.items() if text in said]
