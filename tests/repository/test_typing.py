"""Type checkers find what users get wrong, before anything runs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

SNIPPET: Final = """
import callboard
from callboard import Actor, Context, Contract, Request, Settings, System, handler, props, run
from callboard.reducers import Claim, ConflictPolicy, PolicyResolver, ResolveClaims
from callboard.supervision import ActorSpec


class Counted(Contract):
    count: int


class HowMany(Request[Counted]):
    pass


class Counter(Actor):
    def __init__(self, start: int, *, name: str = "", host: int = 0) -> None:
        self.count = start

    @handler
    async def how_many(self, request: HowMany) -> Counted:
        return Counted(count=self.count)


class Plain(Actor):
    pass


async def right(system: System, ctx: Context) -> None:
    ref = await system.spawn(props(Counter, 10, name="x", host=1), name="counter", host=2)
    reveal_type(ref)  # R: Ref[Counter]
    reveal_type(await system.spawn(Plain))  # R: Ref[Plain]
    reveal_type(await ctx.spawn(props(Counter, start=1)))  # R: Ref[Counter]
    many = await system.spawn_many(props(Counter, n) for n in range(9))
    reveal_type(many)  # R: list[Ref[Counter]]
    pool = await system.pool(props(Counter, 1), size=2)
    reveal_type(pool)  # R: Pool[Counter]
    reveal_type(await pool.ask(HowMany()))  # R: Counted
    reveal_type(pool.refs)  # R: tuple[Ref[Counter], ...]
    reveal_type(await system.keyed(Plain))  # R: KeyedActors[Plain]
    reveal_type(await system.watch(ref))  # R: Down
    ActorSpec("a", Plain)
    ActorSpec("b", props(Counter, 1))
    ctx.tell(HowMany(), ref)


async def wrong(system: System, ctx: Context) -> None:
    await system.spawn(props(Counter, "ten"))  # E: arg-type
    await system.spawn(props(Counter, 10, color="red"))  # E: call-arg
    await system.spawn(props(Counter))  # E: call-arg
    await system.spawn(Counter)  # E: arg-type
    await system.spawn(props(Counter, 10), nmae="counter")  # E: call-arg
    await system.spawn_many([Counter])  # E: arg-type
    await system.pool(Counter, size=2)  # E: arg-type
    await ctx.spawn(props(Counter, start=None))  # E: arg-type
    ActorSpec("a", Counter)  # E: arg-type
    ref = await system.spawn(Plain)
    ctx.tell(ref, HowMany())  # E: arg-type
    system.tell(ref, HowMany())  # E: arg-type
    await system.ask(ref, HowMany())  # E: arg-type


async def main(system: System) -> int:
    return 1


def claims() -> None:
    claim = Claim(("a.py", 3), "wrong", by="anna")
    path, line = claim.place
    resolved = ResolveClaims(PolicyResolver[str](ConflictPolicy.MAJORITY)).finish({})
    lines: list[int] = [one.place[1] + line for one in resolved]
    reveal_type(claim)  # R: Claim[str]
    print(path, lines)


async def starting() -> None:
    async with callboard.start(engine="inline", hosts=2) as system:
        reveal_type(system)  # R: System
    async with callboard.start(engine="inline", hots=2) as system:  # E: call-arg
        pass
    run(main, hosts="two")  # E: arg-type
    run(main, enginee="inline")  # E: call-arg
    reveal_type(run(main, Settings.from_words(["hosts=2"])))  # R: int
"""
EXPECTED: Final = re.compile(r"# ([ER]): (.*)$")
FOUND: Final = re.compile(
    r"^snippet\.py:(\d+): (?:error: .*\[([\w-]+)\]|note: Revealed type is \"(.*)\")$"
)


@pytest.mark.timeout(300)  # Other processes may check theirs first.
def test_mistakes_are_type_errors_and_replies_are_inferred(
    strict_mypy: Callable[..., str], tmp_path: Path
) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(SNIPPET, encoding="utf-8")
    printed = strict_mypy(script)
    found: dict[int, set[str]] = {}
    for line in printed.splitlines():
        match = FOUND.match(line)
        if match is not None:
            number, error, revealed = match.groups()
            text = error or re.sub(r"[\w.]+\.(\w+)", r"\1", revealed)
            found.setdefault(int(number), set()).add(text)
    expected = {
        number: {match[2]}
        for number, line in enumerate(SNIPPET.splitlines(), 1)
        if (match := EXPECTED.search(line)) is not None
    }
    assert found == expected, printed
