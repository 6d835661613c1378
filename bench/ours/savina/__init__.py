"""`savina`: every game runs on one host, where an actor spawns its actors: messages stay local."""

from collections.abc import Mapping

import callboard
from bench.outcome import Outcome, Params
from bench.savina.games import Round, games_in, outcome_of, sizes_of
from callboard import System

from . import buffers, many_to_many, micro, replies, waiting
from .runner import GameRunner, RunGame

__all__ = ["RUNNERS", "run"]

RUNNERS: Mapping[str, type[GameRunner]] = {
    "ping_pong": micro.PingPong,
    "counting": micro.Counting,
    "fork_join_throughput": micro.ForkJoinThroughput,
    "fork_join_create": micro.ForkJoinCreate,
    "thread_ring": micro.ThreadRing,
    "chameneos": many_to_many.Chameneos,
    "big": many_to_many.Big,
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
"""A game that creates 40,000 actors without a pause blocks its host, on purpose."""


def run(params: Params) -> Outcome:
    """Run all games with sizes, one after another."""

    async def main(system: System) -> Outcome:
        rounds: dict[str, Round] = {}
        for game in games_in(params):
            runner = await system.spawn(RUNNERS[game.name])
            game_run = await runner.ask(
                RunGame(sizes=sizes_of(game, params)), timeout_s=GAME_TIMEOUT_S
            )
            rounds[game.name] = (game_run.elapsed_ns, game_run.output)
            await system.stop(runner)
        return outcome_of(params, rounds)

    return callboard.run(
        main, hosts=1, standbys=0, blocked_s=BLOCKED_S, ask_timeout_s=GAME_TIMEOUT_S
    )
