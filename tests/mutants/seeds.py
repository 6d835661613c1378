"""`python -m tests.mutants.seeds links=50 mixed=50`: the seeds that have to find a mutant.

The exit code is 1 as soon as a seed breaks an invariant.
"""

import sys

from tests.simulation.run import run_seeds
from tests.simulation.scenarios import SCENARIOS


def main(arguments: list[str]) -> int:
    """Run so many seeds of each scenario, from 0."""
    for argument in arguments:
        name, _, count = argument.partition("=")
        for outcome in run_seeds(name, SCENARIOS[name], range(int(count))):
            if outcome.broken:
                sys.stdout.write(f"seed {outcome.seed} of {name}: {outcome.broken}\n")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
