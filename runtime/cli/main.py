"""The entry of the `callboard` command: the one place that turns errors into exit codes.

Imports are inside the functions, so that Ctrl-C has its exit code from the first moment on.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code (see `ExitCode`)."""
    try:
        sys.exit(_run(arguments))
    except KeyboardInterrupt:
        from .outcome import failure_of, print_failure

        failure = failure_of(KeyboardInterrupt())
        print_failure(failure, verbose=False)
        sys.exit(failure.exit_code)


def _run(arguments: Sequence[str] | None) -> int:
    import click

    from .commands.group import group
    from .outcome import ExitCode, failure_of, print_failure

    try:
        # Standalone, click would exit with 1 on Ctrl-C.
        code = group.main(arguments, prog_name="callboard", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except Exception as error:  # noqa: BLE001 - the last place to handle it
        failure = failure_of(error)
        print_failure(failure, verbose="--verbose" in sys.argv)
        return failure.exit_code
    return code if isinstance(code, int) else ExitCode.OK
