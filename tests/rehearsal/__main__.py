"""`make rehearse`: a cluster of three machines in namespaces, brought up after docs/cluster.md.

What the page and `cluster.yaml` say is done on it: by `ray up`, without a package index. Then it
runs the quickstart, a durable job and the review, and breaks what can break. It prints a table, and
ends with 1 when something was not as the documentation says.

Everything runs in namespaces whose first process is a child of this one. When this one ends, also
by kill -9, the kernel ends the rest. No other Ray of the machine is seen or touched.
"""

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from .faults import PARTS, chosen
from .needs import what_is_missing
from .separate import separately

CLONE: Final = Path(__file__).resolve().parents[2]
LIMIT_S: Final = 2_400.0
"""On a machine that is busy with other things; on an idle one ten minutes are enough."""

LAST_WORDS_S: Final = 10.0
"""After Ctrl-C, for the table of what has been rehearsed."""


@click.command()
@click.option("--only", multiple=True, metavar="PART", help=f"One of {', '.join(PARTS)}.")
@click.option("--fresh", is_flag=True, help="Install everything again, not only what has changed.")
def main(only: Sequence[str], *, fresh: bool) -> None:
    """Rehearse a cluster, its faults and its end."""
    try:
        parts = chosen(only)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    reason = what_is_missing(CLONE)
    if reason:
        click.echo(f"The rehearsal is skipped: {reason}.")
        return
    stage = [sys.executable, "-m", f"{__package__}.stage", *(["--fresh"] if fresh else []), *parts]
    with subprocess.Popen(separately(stage), cwd=CLONE) as running:
        try:
            code = running.wait(LIMIT_S)
        except KeyboardInterrupt:  # The stage has got it from the terminal as well.
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(LAST_WORDS_S)
            code = 130
        except subprocess.TimeoutExpired:
            click.echo(f"The rehearsal has not ended within {LIMIT_S:g} s.", err=True)
            code = 1
        finally:
            running.kill()  # `unshare` takes the first process with it, and that one all others.
    sys.exit(code)


if __name__ == "__main__":
    main()
