"""`savina`: every game on one host, spawned there by an actor, so that messages stay local."""

from collections.abc import Mapping

import callboard
from bench.outcome import Outcome, Params
from bench.savina.games import Round, games_in, outcome_of, sizes_of
from callboard import System

from . import buffers, crowds, micro, replies, waiting
from .stage import Play, Stage

__all__ = ["STAGES", "run"]

STAGES: Mapping[str, type[Stage]] = {
    "ping_pong": micro.PingPong,
    "counting": micro.Counting,
    "fork_join_throughput": micro.ForkJoinThroughput,
    "fork_join_create": micro.ForkJoinCreate,
    "thread_ring": micro.ThreadRing,
    "chameneos": crowds.Chameneos,
    "big": crowds.Big,
    "concurrent_dictionary": replies.ConcurrentDictionary,
    "bounded_buffer": buffers.BoundedBuffer,
    "dining_philosophers": replies.DiningPhilosophers,
    "sleeping_barber": waiting.SleepingBarber,
    "cigarette_smokers": waiting.CigaretteSmokers,
    "logistic_map": replies.LogisticMap,
    "banking": replies.Banking,
}
GAME_TIMEOUT_S = 120.0
BLOCKED_S = 60.0
"""A stage that creates 40,000 actors without a pause blocks its host, and is meant to."""


def run(params: Params) -> Outcome:
    """All games that have sizes, one after another."""

    async def main(system: System) -> Outcome:
        rounds: dict[str, Round] = {}
        for game in games_in(params):
            stage = await system.spawn(STAGES[game.name])
            played = await stage.ask(Play(sizes=sizes_of(game, params)), timeout_s=GAME_TIMEOUT_S)
            rounds[game.name] = (played.elapsed_ns, played.output)
            await system.stop(stage)
        return outcome_of(params, rounds)

    return callboard.run(
        main, hosts=1, standbys=0, blocked_s=BLOCKED_S, ask_timeout_s=GAME_TIMEOUT_S
    )
