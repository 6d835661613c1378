"""Who acts is durable: every request of the admin API that acts is recorded before it is done."""

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from callboard.messages.control.principals import ALL_SCOPES, Principal, Scope
from callboard.messages.core.contract import Contract, Request, reply_type
from callboard.messages.core.errors import StoreFailed
from callboard.runtime.admin.acts import RecordAct, TakeEvent, about
from callboard.runtime.admin.errors import AccessDenied, NotServed
from callboard.runtime.admin.port import NOBODY, SERVED, Caller, Part
from callboard.runtime.admin.service import AdminService
from callboard.runtime.admin.submission import SubmitExecution
from callboard.runtime.admin.wire import encode_request

ADA = Principal(subject="ada", way="http", scopes=ALL_SCOPES, token="t1")
CALLER = Caller("http", principal=ADA)
ACTS = [request for request, served in SERVED.items() if served.scope not in (Scope.READ, None)]
OF_THE_SYSTEM = [request for request, served in SERVED.items() if served.scope is None]


class World:
    """A service whose parts note what they are asked, in one line."""

    def __init__(self, *, journal: bool = True, fault: Exception | None = None) -> None:
        self.asked: list[Any] = []
        parts: dict[str, Any] = {
            str(part): self._answer for part in Part if journal or part is not Part.JOURNAL
        }
        self.service = AdminService(**parts)
        self._fault = fault

    async def _answer(self, request: Request[Any]) -> Contract:
        if isinstance(request, RecordAct) and self._fault is not None:
            raise self._fault
        self.asked.append(request)
        reply: Any = reply_type(type(request))
        made: Contract = reply.model_construct()
        return made


def any_of(request: type[Request[Any]]) -> Request[Any]:
    """A request of a kind; the service does not look at its fields."""
    fields: dict[str, Any] = {
        name: field.get_default(call_default_factory=True)
        for name, field in request.model_fields.items()
        if not field.is_required()
    }
    return request.model_construct(**fields)


def names(asked: Sequence[Any]) -> list[str]:
    return [
        f"act {each.record.act}" if isinstance(each, RecordAct) else each.contract_name
        for each in asked
    ]


@pytest.mark.parametrize("request_type", ACTS, ids=lambda each: each.contract_name)
async def test_no_act_is_without_its_record(request_type: type[Request[Any]]) -> None:
    world = World()
    await world.service.handle(any_of(request_type), CALLER)
    name = request_type.contract_name
    assert names(world.asked) == [f"act {name}", name]
    record = world.asked[0].record
    assert (record.subject, record.way, record.token) == ("ada", "http", "t1")
    assert record.at > 0

    unwritten = World(fault=StoreFailed("the disk is full."))
    with pytest.raises(StoreFailed):
        await unwritten.service.handle(any_of(request_type), CALLER)
    assert unwritten.asked == []

    for without in (World(journal=False), World(fault=NotServed("there is no journal."))):
        await without.service.handle(any_of(request_type), CALLER)
        assert names(without.asked) == [name]


async def test_queries_and_refused_acts_leave_no_record() -> None:
    world = World()
    for request, served in SERVED.items():
        if served.scope is Scope.READ:
            await world.service.handle(any_of(request), CALLER)
        else:
            with pytest.raises(AccessDenied):
                await world.service.handle(any_of(request), Caller("http", principal=NOBODY))
    assert not [each for each in world.asked if isinstance(each, RecordAct)]


def test_only_the_system_itself_writes_records() -> None:
    assert set(OF_THE_SYSTEM) == {RecordAct, TakeEvent}


@pytest.mark.parametrize("request_type", OF_THE_SYSTEM, ids=lambda each: each.contract_name)
async def test_nobody_forges_a_record(request_type: type[Request[Any]]) -> None:
    world = World()
    with pytest.raises(AccessDenied):
        await world.service.handle(any_of(request_type), CALLER)
    assert world.asked == []
    # A request of the table travels in its bytes too; the service refuses it all the same.
    assert encode_request(any_of(request_type))


def test_a_record_has_the_short_fields_and_no_names_of_others() -> None:
    request = SubmitExecution(
        job="making", fields={"secret": "large"}, execution_id="one", by="somebody else"
    )
    assert about(request) == {"job": "making", "execution_id": "one"}

    class Many(BaseModel):
        numbers: tuple[int, ...]
        text: str

    found = about(Many(numbers=tuple(range(500)), text="x" * 1_000))
    assert (len(found["numbers"]), len(found["text"])) == (20, 300)
