"""Run Erlang: compile a source in a temporary folder, evaluate calls, return the output."""

import subprocess
import tempfile
from pathlib import Path

__all__ = ["run_erlang"]

SPARE_PROCESSES = 10_000
"""Room for other processes of the Erlang machine."""


def run_erlang(module: str, source: str, calls: str, *, processes: int = 0) -> str:
    """Compile `source` as `module`, evaluate `calls` and halt. Gives the output.

    Raises:
        subprocess.CalledProcessError: if it does not compile, or stops with an error.
    """
    with tempfile.TemporaryDirectory(prefix="erl") as folder:
        file = Path(folder, f"{module}.erl")
        file.write_text(source)
        subprocess.run(["erlc", file.name], cwd=folder, check=True)
        ran = subprocess.run(
            [
                "erl",
                *("-noshell", "+P", str(processes + SPARE_PROCESSES)),
                *("-eval", f"{calls}, halt(0)."),
            ],
            cwd=folder,
            check=True,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    return ran.stdout
