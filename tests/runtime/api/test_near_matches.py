"""A request or a message whose contract has another name at the receiver: both sides say so."""

import asyncio
import types
from typing import Any, Final

import pytest

import callboard
from callboard import Actor, Contract, Request, handler
from callboard.errors import ActorNotFound, NoAgentOffers
from callboard.messaging import DeadLetter

WAIT_S: Final = 30.0


class Balance(Contract):
    cents: int


class Deposit(Request[Balance], name="service.Deposit"):
    cents: int


class Note(Contract, name="service.Note"):
    text: str


class Account(Actor):
    @handler
    async def deposit(self, request: Deposit) -> Balance:
        return Balance(cents=request.cents)

    @handler
    async def note(self, message: Note) -> None:
        raise AssertionError(message)


def of_a_script(base: type, name: str) -> Any:
    """The same class of a program that was run as a script that nobody can import."""
    fields = {"__module__": __name__, "__annotations__": {"cents": int}}
    keywords = {"name": f"__main__.{name}"}
    return types.new_class(name, (base,), keywords, lambda space: space.update(fields))


async def test_refusals_and_dead_letters_name_the_near_match() -> None:
    letters = asyncio.Queue[DeadLetter]()
    async with callboard.start(engine="inline", hosts=1) as system:
        await system.on_dead_letter(letters.put_nowait)
        account = await system.spawn(Account, offer=True)
        twin = of_a_script(Deposit.__mro__[1], "Deposit")
        with pytest.raises(NoAgentOffers, match=r"service\.Deposit is offered: the same class of"):
            await system.ask(twin(cents=1))
        with pytest.raises(ActorNotFound, match=r"service\.Deposit is handled: the same class of"):
            await account.ask(twin(cents=1))
        await account.send(of_a_script(Contract, "Note")(cents=1))
        letter = await asyncio.wait_for(letters.get(), WAIT_S)
        view = await system.view()
    assert (letter.reason, letter.contract) == ("no_handler", "__main__.Note")
    assert letter.error is not None
    assert "service.Note is handled: the same class of" in letter.error["message"]
    (cause,) = [cause for host in view.hosts for cause in host.dead_letter_causes.values()]
    assert "service.Note is handled" in cause
