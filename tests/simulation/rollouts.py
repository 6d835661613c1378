"""The scenario of roll-outs: packages, good and bad, while everything dies.

No system runs here: the world of `rollout_world` is the system, and each of its steps is checked.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from callboard.actors.configuration.rollout.core import RolloutCore
from callboard.actors.configuration.rollout.states import RolloutState

from .rollout_world import FAULTS, PLAN, Package, RolloutWorld
from .run import Run

__all__ = ["play", "rollouts"]

KINDS: Final = ("reader", "writer", "tester")
COMPONENTS: Final = ("reviewer", "planner")
TAKEN: Final = frozenset({RolloutState.SUCCEEDED, RolloutState.ROLLBACK_FAILED})
HORIZON_S: Final = 240.0


async def rollouts(run: Run) -> None:
    """Some packages over some targets, with faults drawn from the seed."""
    await asyncio.sleep(0)
    play(run.draw, run.complain)


def play(
    draw: Callable[[], float], complain: Callable[[str, str], None], *, faults: bool = True
) -> RolloutWorld:
    """Play one run."""
    world = RolloutWorld(draw, complain, faulty=faults)
    hosts = 2 + int(draw() * 3)
    count = 20 + int(draw() * 40)
    for host in range(hosts):
        names = range(host, count, hosts)
        world.add(((f"a{n}", KINDS[n % len(KINDS)], COMPONENTS[n % 3 == 0]) for n in names), host)
    world.observe()
    for number in range(1 + int(draw() * 4)):
        _propose(world, number)
    if draw() < 0.4:
        world.later(8.0 + draw() * 8.0, lambda: _take_back(world))
    if faults:
        for _ in range(int(draw() * 6)):
            world.later(draw() * 12.0, lambda: _fault(world, hosts, count))
    world.run(14.0)
    world.finish(HORIZON_S)
    return world


def _propose(world: RolloutWorld, number: int) -> None:
    draw = world.draw
    version = f"v{number + 1}"
    fault = FAULTS[int(draw() * len(FAULTS))] if draw() < 0.6 else ""
    kinds = frozenset({KINDS[int(draw() * len(KINDS))]}) if draw() < 0.2 else frozenset()
    world.packages[version] = Package(version, fault, kinds)
    parts = COMPONENTS if draw() < 0.4 else (COMPONENTS[int(draw() * 2)],)
    name = ("main", "other")[draw() < 0.3]
    touches = ("permissions",) if draw() < 0.3 else ()

    def propose() -> None:
        world.tell(
            lambda core: core.propose(
                version,
                name,
                version,
                dict.fromkeys(parts, version),
                world.now,
                plan=PLAN,
                author="first",
                touches=touches,
            )
        )
        if draw() < 0.3:
            world.later(draw() * 6.0, lambda: _interfere(world, version))

    world.later(draw() * 8.0, propose)


def _interfere(world: RolloutWorld, rollout: str) -> None:
    chosen = world.draw()
    if chosen < 0.4:
        world.tell(lambda core: core.abort(rollout, "somebody", world.now))
        return
    world.tell(lambda core: core.pause(rollout, "somebody", world.now))
    if chosen < 0.8:
        world.later(
            world.draw(), lambda: world.tell(lambda core: core.resume(rollout, "x", world.now))
        )


def _take_back(world: RolloutWorld) -> None:
    """Somebody takes a good version back at once, or goes on with a roll-back that has failed."""

    def act(core: RolloutCore) -> None:
        ended = [each for each in core.book.rollouts.values() if each.state in TAKEN]
        for each in ended[:1]:
            if each.state is RolloutState.SUCCEEDED:
                core.propose(
                    f"back-{each.id}", each.package, each.version, each.components, world.now,
                    author="somebody", plan=PLAN, at_once=True,
                )  # fmt: skip
            else:
                core.resume(each.id, "somebody", world.now)

    world.tell(act)


def _fault(world: RolloutWorld, hosts: int, count: int) -> None:
    host = int(world.draw() * hosts)
    match int(world.draw() * 3):
        case 0:
            world.crash_host(host)
        case 1:
            world.cut_off(host)
        case _:
            if host not in world.dead and host not in world.cut:
                number = count + len(world.targets)
                world.add(((f"a{number}", KINDS[number % 3], COMPONENTS[0]),), host)
