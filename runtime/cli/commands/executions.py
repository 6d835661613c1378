"""The commands about executions: `ls`, `show`, `tail`, `cancel`, `approve`, `resume`, `fork`."""

from pathlib import Path
from typing import Any, Final

import click

from ..options import journal_option, json_option, take_over_option, timeout_option
from .approvals import store_option

__all__ = ["STATUSES", "approve", "cancel", "fork", "ls", "resume", "show", "tail"]

STATUSES: Final = ("pending", "running", "completed", "failed", "cancelled", "interrupted")
LIMIT_DEFAULT: Final = 20


@click.command()
@click.option("--status", type=click.Choice(STATUSES))
@click.option("--job", metavar="NAME", help="List only executions of this job.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT_DEFAULT, show_default=True)
@json_option
@journal_option
def ls(**options: Any) -> None:
    """List executions, newest first, with their status, and which ones can be resumed.

    An execution is interrupted when it has not ended, but its system no longer runs.
    """
    from ..ls import ls as perform

    perform(**options)


@click.command()
@click.argument("execution_id", metavar="ID")
@click.option("--all", "shows_all", is_flag=True, help="Show every sub-task and every attempt.")
@click.option(
    "--timeline", "as_timeline", is_flag=True, help="Show the executors over time, as bars."
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML page.")
@json_option
@journal_option
def show(**options: Any) -> None:
    """Show the execution ID: its phases, its graph, attempts, times and errors.

    A large plan is shown as counts of sub-tasks by kind, with the newest attempts.
    """
    from ..show import show as perform

    perform(**options)


@click.command()
@click.argument("execution_id", metavar="ID")
@click.option(
    "--for", "for_s", type=click.FloatRange(min=0), metavar="S", help="Stop after so many seconds."
)
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@journal_option
def tail(**options: Any) -> None:
    """Print the events of the execution ID, past ones first, until it ends.

    The command reads the journal five times a second. It exits with 4 when --for is over first.
    With --json it prints each event as recorded in the journal. Partial results that the journal
    does not have come from the system that runs the execution, if it is on this machine.
    """
    from ..tail import tail as perform

    perform(**options)


@click.command()
@click.argument("execution_id", metavar="ID")
@timeout_option("How long a running system may take.")
@json_option
@take_over_option
@journal_option
def cancel(**options: Any) -> None:
    """Cancel the execution ID, through its running system or in the journal.

    Exits with 4 when a running system does not end it in time.
    """
    from ..cancel import cancel as perform

    perform(**options)


@click.command()
@click.argument("execution_id", metavar="ID")
@click.argument("step", required=False)
@click.option(
    "--refuse",
    "--fail",
    "fails",
    is_flag=True,
    help="Say no; a step then counts as failed, and does not run again.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept with the decision.")
@store_option
@timeout_option("How long a running system may take.")
@json_option
@take_over_option
@journal_option
def approve(**options: Any) -> None:
    """Say yes to the approval ID, or no; `callboard approvals` lists them.

    With a STEP, ID is an execution: the step runs again, or fails, when an attempt may have run.
    First check, outside of Callboard, whether the step had its effect. A running system gets the
    decision at once. Otherwise the command writes it into the journal, and `callboard resume`
    continues from there. Exits with 4 when a running system does not act in time.
    """
    from ..approve import approve as perform

    perform(**options)


@click.command()
@click.argument("execution_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON, last.")
@take_over_option
@journal_option
def resume(**options: Any) -> None:
    """Continue the execution ID: start its driver again, with the same command line.

    Finished sub-tasks do not run again. The command passes on the driver's output and exit code. It
    exits with 1 when the driver succeeds, but the execution has not ended. If a running system
    writes the journal, that system continues the execution, and this command waits for the end.
    """
    from ..resume import resume as perform

    perform(**options)


@click.command()
@click.argument("execution_id", metavar="ID")
@click.option("--from", "step", required=True, metavar="STEP", help="The sub-task to run again.")
@json_option
@take_over_option
@journal_option
def fork(**options: Any) -> None:
    """Make a new execution from ID: STEP, all that needs it, and all that it added run again.

    The fork shares all other results and copies nothing. `callboard resume` runs it. If a running
    system writes the journal, that system records the fork.
    """
    from ..fork import fork as perform

    perform(**options)
