"""The `callboard` command and its subcommands."""

import click

import callboard

from .approve import approve
from .cancel import cancel
from .doctor import doctor
from .down import down
from .events import events
from .fork import fork
from .ls import ls
from .resume import resume
from .run import run
from .show import show
from .sim import sim
from .store import store
from .tail import tail
from .top import top
from .tree import tree
from .why import why

__all__ = ["command"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`callboard COMMAND --help` describes each command.",
)
@click.version_option(callboard.__version__, prog_name="callboard")
def command() -> None:
    """Callboard: a supervised actor runtime on Ray for multi-agent jobs."""


command.add_command(run)
command.add_command(tree)
command.add_command(top)
command.add_command(why)
command.add_command(doctor)
command.add_command(down)
command.add_command(sim)
command.add_command(ls)
command.add_command(show)
command.add_command(tail)
command.add_command(cancel)
command.add_command(approve)
command.add_command(resume)
command.add_command(fork)
command.add_command(events)
command.add_command(store)
