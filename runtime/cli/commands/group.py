"""The `callboard` command and its subcommands."""

import click

import callboard

from .alerts import alerts
from .approvals import approvals
from .configuration import config
from .executions import approve, cancel, fork, ls, resume, show, tail
from .journals import events, store
from .metrics import metrics
from .pipelines import letters, pipelines
from .prometheus import prometheus
from .running import run, sim
from .systems import doctor, down, logs, top, tree, ui, up, why
from .tokens import token

__all__ = ["group"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`callboard COMMAND --help` describes each command.",
)
@click.version_option(callboard.__version__, prog_name="callboard")
def group() -> None:
    """Callboard: a supervised actor runtime on Ray for multi-agent jobs."""


for declared in (
    run, tree, top, why, logs, doctor, down, sim, ls, show, tail, cancel, approve, resume, fork,
    events, store, metrics, alerts, approvals, pipelines, letters, prometheus, token, ui, up,
    config,
):  # fmt: skip
    group.add_command(declared)
