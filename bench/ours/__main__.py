"""Run our side of one bench: `python -m bench.ours NAME --params JSON`."""

import importlib
from collections.abc import Callable

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.registry import BENCHES

__all__: list[str] = []


def _run_of(name: str) -> Callable[[Params], Outcome]:
    def run(params: Params) -> Outcome:
        # Imported here, so that a bench does not pay for the imports of others.
        outcome: Outcome = importlib.import_module(f"bench.ours.{name}").run(params)
        return outcome

    return run


if __name__ == "__main__":
    serve({bench.name: _run_of(bench.name) for bench in BENCHES})
