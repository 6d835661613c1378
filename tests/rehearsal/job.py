"""A durable job of the rehearsal, by a driver that is killed in the middle and resumed."""

import asyncio
import sys
from pathlib import Path

import callboard
from callboard import Agent, Context, Contract, Job, Request, SubTask, System, handler

ADDRESS = "192.0.2.10:6379"
TASK_S = 0.2


class Square(Contract):
    value: int


class Squared(Request[Square]):
    number: int


class Squares(Contract):
    count: int


class Worker(Agent):
    @handler
    async def square(self, request: Squared, ctx: Context) -> Square:
        await asyncio.sleep(TASK_S)
        with (Path.home() / "job-tasks").open("a", encoding="utf-8") as file:
            file.write(f"{ctx.idempotency_key}\n")
        return Square(value=request.number**2)


def tasks(request: Squares) -> list[SubTask]:
    return [SubTask(f"n-{number}", Squared(number=number)) for number in range(request.count)]


squares = Job[Squares, list[Square]](name="squares", decompose=tasks)


async def main(system: System) -> None:
    await system.pool(Worker, size=12)
    execution = system.submit(
        squares, Squares(count=int(sys.argv[1])), execution_id="rehearsed-job"
    )
    sys.stdout.write(f"sum {sum(square.value for square in await execution.result())}\n")


if __name__ == "__main__":
    callboard.run(main, name="job", address=ADDRESS, hosts=3)
