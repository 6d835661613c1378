"""The rehearsal in its namespaces, as the first process there. `__main__` starts it."""

import functools
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

import click

from . import page
from .cluster import FOLDER, Cluster, RehearsalFailed
from .faults import FAULTS
from .jobs import durable, quickstart, review
from .outage import Outage
from .table import Row, table

__all__ = ["rehearse"]

JOBS: Final[Mapping[str, Callable[[Cluster], Row]]] = {
    "quickstart": quickstart,
    "durable": durable,
    "review": review,
}


def _say(text: str) -> None:
    click.echo(text, err=True)


def _back(cluster: Cluster, outage: Outage) -> Row:
    """Bring back what a fault has taken."""
    began_s = time.monotonic()
    if outage.fault.ends_the_system:
        cluster.up()
        return Row("ray up again", took_s=time.monotonic() - began_s)
    cluster.repair(outage.target)
    return Row("the machine is back, and joins", took_s=time.monotonic() - began_s)


def _one(rows: list[Row], name: str, does: Callable[[], Row]) -> None:
    """Rehearse one thing; what cannot be rehearsed is a row as well."""
    _say(f"{time.strftime('%H:%M:%S')} {name}")
    began_s = time.monotonic()
    try:
        row = does()
    except (RehearsalFailed, OSError, subprocess.SubprocessError) as error:
        row = Row(name, problems=[f"not rehearsed: {error}"])
    rows.append(row)
    (FOLDER / "table.md").write_text(f"{table(rows)}\n", encoding="utf-8")
    _say(f"  {' | '.join(row.cells()[1:])} ({time.monotonic() - began_s:.0f} s)")


def _up(cluster: Cluster) -> Row:
    began_s = time.monotonic()
    cluster.up()
    return Row("ray up, without an index", took_s=time.monotonic() - began_s)


def _down(cluster: Cluster) -> Row:
    """The page's step 5, all of it: nothing is left, and at once."""
    began_s = time.monotonic()
    cluster.operate("\n".join(page.commands(cluster.page, "5.")))
    took_s = time.monotonic() - began_s
    left = [
        f"{len(found)} processes on {name}"
        for name, traces in cluster.traces().items()
        if (found := [*traces.hosts, *traces.ray])
    ]
    return Row("the end, by the page", took_s=took_s, problems=left, left=left)


def rehearse(parts: Collection[str], *, is_fresh: bool) -> list[Row]:
    """Rehearse these parts; a cluster is brought up before and taken down after them."""
    rows: list[Row] = []
    cluster = Cluster(is_fresh=is_fresh)
    try:
        _one(rows, "ray up", lambda: _up(cluster))
        if not rows[0].is_right:
            return rows
        for name, job in JOBS.items():
            if name in parts:
                _one(rows, name, functools.partial(job, cluster))
        for fault in FAULTS:
            if fault.name in parts:
                outage = Outage(cluster, fault)
                _one(rows, fault.name, outage.rehearse)
                if outage.has_begun and (fault.loses_its_node or fault.ends_the_system):
                    _one(rows, "back", functools.partial(_back, cluster, outage))
        _one(rows, "ray down", lambda: _down(cluster))
    except KeyboardInterrupt:
        rows.append(Row("the rest", problems=["interrupted"]))
    finally:
        cluster.off()
    return rows


def _main(words: list[str]) -> int:
    rows = rehearse([word for word in words if word != "--fresh"], is_fresh="--fresh" in words)
    click.echo(table(rows))
    return 0 if all(row.is_right for row in rows) else 1


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
