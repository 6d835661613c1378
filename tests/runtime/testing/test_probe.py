"""Probes: expected messages, and the errors for others."""

import pytest

from callboard import CallboardError
from callboard.actors.kernel.props import props
from callboard.messages.core.errors import UsageError
from callboard.testing import Simulation, simulated

from .fixture_actors import Next, Number, Repeater, Tell


@simulated()
async def test_a_probe_answers_and_notes(sim: Simulation) -> None:
    probe = await sim.probe(Tell, answers={Next: Number(number=7)})
    repeater = await sim.system.spawn(props(Repeater, probe.ref, probe.ref), host=2)
    repeater.tell(Tell(text="a"))
    assert await probe.expect(Next) == Next()
    assert (await probe.expect(Tell)).text == "a 7"
    assert probe.received == (Next(), Tell(text="a 7"))


@simulated()
async def test_an_answer_may_be_computed_or_refused(sim: Simulation) -> None:
    def answer(request: Next) -> Number:
        raise UsageError("not now.", advice="Later.")

    probe = await sim.probe(answers={Next: answer})
    with pytest.raises(CallboardError, match="not now"):
        await sim.system.ask(Next(), probe.ref)


@simulated()
async def test_another_message_fails_the_expectation_and_is_named(sim: Simulation) -> None:
    probe = await sim.probe(Tell, answers={Next: Number(number=1)})
    probe.ref.tell(Tell(text="x"))
    with pytest.raises(AssertionError, match=r"expected a Next, but Tell.*'x'"):
        await probe.expect(Next)


@simulated()
async def test_the_right_kind_with_the_wrong_content_fails(sim: Simulation) -> None:
    probe = await sim.probe(Tell)
    probe.ref.tell(Tell(text="x"))
    with pytest.raises(AssertionError, match="not the right one"):
        await probe.expect(Tell, where=lambda message: message.text == "y")


@simulated()
async def test_nothing_comes_and_time_passes(sim: Simulation) -> None:
    probe = await sim.probe(Tell)
    began_s = sim.now_s
    with pytest.raises(AssertionError, match="no Tell came within 600 s; before: nothing"):
        await probe.expect(Tell, within_s=600.0)
    assert sim.now_s - began_s == pytest.approx(600.0)
    await probe.expect_nothing(within_s=600.0)
    probe.ref.tell(Tell(text="x"))
    with pytest.raises(AssertionError, match="expected nothing"):
        await probe.expect_nothing()


@simulated()
async def test_a_request_needs_an_answer(sim: Simulation) -> None:
    with pytest.raises(UsageError, match="no answer for a Next"):
        await sim.probe(Next)
