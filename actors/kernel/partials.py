"""Handlers that stream: an async generator yields partial results, and then its reply.

    @handler
    async def review(self, request: ReviewFile) -> AsyncIterator[Finding | Findings]:
        async for finding in self.model.read(request.path):
            yield finding                      # a partial result
        yield Findings(path=request.path)      # of the reply type: the result, and the end

The first value of the reply type is the reply, and the kernel closes the generator there. So a
partial result is of another contract. A request without a reply ends with its generator.

A yield waits while the asker is behind: at most `Call.window` partial results are under way. An
asker that takes none, as every ordinary ask, costs nothing: they are dropped where they are made.
"""

import inspect
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Any, Final

from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import SpecError, WrongReply

from .asks import Ask

__all__ = ["run_stream", "yields_of"]

STREAMS: Final = frozenset({AsyncIterator, AsyncIterable, AsyncGenerator})


def yields_of(
    where: str, contract: type[Contract], reply: type[Contract] | None, returned: Any
) -> tuple[type[Contract], ...]:
    """The contracts that a handler yields, by its annotation; raises `SpecError`."""
    if not issubclass(contract, Request):
        raise SpecError(
            f"{where} yields, but {contract.contract_name} is not a Request.",
            advice="Nobody waits for its results: derive the contract from Request[Reply].",
        )
    if returned is Any:
        return ()
    arguments = typing.get_args(returned)
    if typing.get_origin(returned) not in STREAMS or not arguments:
        raise SpecError(
            f"{where} yields, but it is annotated {returned!r}.",
            advice="Annotate it AsyncIterator[Partial | Reply].",
        )
    yielded = arguments[0]
    is_union = typing.get_origin(yielded) in {typing.Union, types.UnionType}
    kinds: tuple[Any, ...] = typing.get_args(yielded) if is_union else (yielded,)
    for kind in kinds:
        if not (inspect.isclass(kind) and issubclass(kind, Contract)):
            raise SpecError(
                f"{where} yields {kind!r}, which is no contract.",
                advice="Let it yield contracts only: they travel between processes.",
            )
    if reply is not None and not any(issubclass(kind, reply) for kind in kinds):
        raise SpecError(
            f"{where} never yields the reply of {contract.contract_name}.",
            advice=f"Annotate it AsyncIterator[Partial | {reply.__name__}], and yield the reply "
            "last.",
        )
    return kinds


async def run_stream(
    values: AsyncGenerator[Any, None],
    reply: type[Contract] | None,
    ask: Ask | None,
    where: Callable[[], str],
) -> Contract | None:
    """Run a generator to its reply, and close it in any case.

    Raises what it raises; `WrongReply` when it yields what is no contract, or no reply at all.
    """
    can_wait = True
    try:
        async for value in values:
            if reply is not None and isinstance(value, reply):
                return value
            if not isinstance(value, Contract):
                raise WrongReply(
                    f"{where()} yielded a {type(value).__qualname__}, which is no contract.",
                    advice="Yield contracts: partial results, and then the reply.",
                )
            if ask is not None:
                await ask.give(value)
    except GeneratorExit:  # this coroutine itself is thrown away: its loop has ended
        can_wait = False
        raise
    finally:
        if can_wait:
            await values.aclose()
    if reply is not None:
        raise WrongReply(
            f"{where()} ended without its reply, a {reply.contract_name}.",
            advice="Yield the reply last, also where it is empty.",
        )
    return None
