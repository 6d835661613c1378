"""Kills random processes."""

import asyncio
import os
import random
import signal
import time

from bench.outcome import Params

from .load import Load

__all__ = ["MS_PER_S", "Killer"]

MS_PER_S = 1_000


class Killer:
    """Kills one process after another, of the processes that have answered."""

    def __init__(self, load: Load, params: Params) -> None:
        self.times_s: list[float] = []
        self._load = load
        self._chance = random.Random(params["seed"])
        self._every_s = params["interval_ms"] / MS_PER_S
        self._killed: set[int] = set()

    async def kill(self, until: int) -> None:
        """Kill one after another, until so many are killed."""
        slots = sorted(self._load.processes)
        next_s = time.monotonic()
        while len(self.times_s) < until:
            chosen = self._chance.choice(slots)
            # A process without an answer since its last kill is skipped for the next one.
            turn = slots[slots.index(chosen) :] + slots[: slots.index(chosen)]
            alive = (self._load.processes[slot] for slot in turn)
            process_id = next((pid for pid in alive if pid not in self._killed), None)
            if process_id is not None:
                self._killed.add(process_id)
                self.times_s.append(time.monotonic())
                os.kill(process_id, signal.SIGKILL)
            next_s += self._every_s
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
