"""Keyed actors of the tests."""

from typing import ClassVar

from callboard.actors.kernel.actor import handler
from callboard.actors.kernel.context import Context
from callboard.actors.keyed.actor import KeyedActor
from callboard.messages.core.contract import Contract, Request


class Balance(Contract, name="accounts.balance"):
    amount: int
    host: str = ""


class Deposit(Request[Balance], name="accounts.deposit"):
    account: str
    amount: int


class Note(Contract, name="accounts.note"):
    account: str
    amount: int


class Fall(Request[Balance], name="accounts.fall"):
    account: str


class Account(KeyedActor):
    key: ClassVar[str] = "account"

    def __init__(self) -> None:
        self._amount = 0

    def snapshot(self) -> Balance:
        return Balance(amount=self._amount)

    def restore(self, state: Balance | None) -> None:
        self._amount = 0 if state is None else state.amount

    @handler
    async def deposit(self, request: Deposit, ctx: Context) -> Balance:
        self._amount += request.amount
        return Balance(amount=self._amount, host=ctx.host_name)

    @handler
    async def note(self, message: Note) -> None:
        self._amount += message.amount

    @handler
    async def fall(self, request: Fall) -> Balance:
        raise ValueError("fell")


class Lean(Account):
    pass
