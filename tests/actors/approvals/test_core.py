"""What becomes of approvals: plain cases, and what always holds."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.approvals.core import ApprovalBook, Changes
from callboard.messages.control.approvals import (
    NEXT,
    Approval,
    ApprovalEnded,
    ApprovalsFull,
    ApprovalState,
    AskApproval,
    DecideApproval,
    MayNotDecide,
    QueryApprovals,
    UnknownApproval,
    WithdrawApproval,
    WithdrawForExecution,
)
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.core.names import escaped

from ...thoroughness import examples


def question(approval_id: str = "a", **fields: Any) -> AskApproval:
    return AskApproval(
        **{"id": approval_id, "subject": "Pay?", "asked_by": "ada", "deadline_s": 10.0, **fields}
    )


def yes(by: str, approval_id: str = "a", *, gives: bool = True) -> DecideApproval:
    return DecideApproval(id=approval_id, gives=gives, by=by, reason="so")


def asked(now: float = 0.0, **fields: Any) -> ApprovalBook:
    book = ApprovalBook()
    book.apply(book.ask(question(**fields), now))
    return book


def test_one_yes_gives_it_and_names_its_principal() -> None:
    book = asked()
    book.apply(book.decide(yes("bob"), 3.0))
    (found,) = book
    assert (found.state, found.is_given, found.ended_at) == ("given", True, 3.0)
    (decision,) = found.decisions
    assert (decision.by, decision.reason, decision.at) == ("bob", "so", 3.0)


def test_a_repetition_proposes_nothing_and_another_answer_is_refused() -> None:
    book = asked()
    book.apply(book.decide(yes("bob"), 3.0))
    assert not book.decide(yes("bob"), 30.0), "also after the deadline"
    assert not book.ask(question(), 5.0)
    for other in (yes("bob", gives=False), yes("eve")):
        with pytest.raises(ApprovalEnded, match="is given by bob"):
            book.decide(other, 4.0)
    with pytest.raises(ApprovalEnded):
        book.withdraw(WithdrawApproval(id="a"), 4.0)


def test_two_of_three_must_agree_and_one_no_ends_it() -> None:
    book = asked(needed=2, deciders=("bob", "eve", "ada"), excludes_asker=True)
    with pytest.raises(MayNotDecide, match="has asked"):
        book.decide(yes("ada"), 1.0)
    with pytest.raises(MayNotDecide, match="bob, eve, ada"):
        book.decide(yes("mallory"), 1.0)
    with pytest.raises(UsageError):
        book.decide(yes(""), 1.0)
    book.apply(book.decide(yes("bob"), 1.0))
    assert not book.decide(yes("bob"), 2.0), "the same person counts once"
    assert book.find("a").is_open
    book.apply(book.decide(yes("eve", gives=False), 3.0))
    assert (book.find("a").state, book.find("a").is_given) == ("refused", False)


@pytest.mark.parametrize("gives", [False, True])
def test_the_deadline_has_the_outcome_that_the_question_states(gives: bool) -> None:
    book = asked(gives_at_deadline=gives)
    assert book.next_deadline() == 10.0
    with pytest.raises(ApprovalEnded, match="expired"):
        book.decide(yes("bob"), 10.0)
    book.apply(book.expire(25.0))
    found = book.find("a")
    assert (found.state, found.is_given, found.ended_at) == ("expired", gives, 10.0)


def test_an_id_counts_for_its_own_question() -> None:
    book = asked(details={"tables": ("a", "b")})
    assert not book.ask(question(details={"tables": ["a", "b"]}, asked_by="another attempt"), 1.0)
    others: list[dict[str, Any]] = [
        {"details": {"tables": ["c"]}},
        {"subject": "Pay more?"},
        {"needed": 2},
    ]
    for other in others:
        with pytest.raises(UsageError, match="in other words"):
            book.ask(question(**{"details": {"tables": ("a", "b")}, **other}), 1.0)


def test_questions_that_nobody_could_answer_are_refused() -> None:
    book = ApprovalBook()
    for wrong in (
        question("line\nbreak"),
        question(needed=2, deciders=("bob",)),
        question(deciders=("ada",), excludes_asker=True),
        question(details={"a": object()}),
        question(details={"a": float("nan")}),
        question(details={"a": "x" * 9_000}),
    ):
        with pytest.raises(UsageError):
            book.ask(wrong, 0.0)
    with pytest.raises(UnknownApproval):
        book.decide(yes("bob", "none"), 0.0)


def test_open_ones_are_bounded_and_the_oldest_ended_ones_go() -> None:
    book = ApprovalBook(open_max=2, ended_max=2)
    for number in range(4):
        book.apply(book.ask(question(f"a{number}"), number))
        book.apply(book.decide(yes("bob", f"a{number}"), number))
    assert [each.id for each in book] == ["a2", "a3"]
    assert book.forgotten == 2
    for name in "xy":
        book.apply(book.ask(question(name), 9.0))
    with pytest.raises(ApprovalsFull):
        book.ask(question("z"), 9.0)


def test_pages_have_the_newest_first() -> None:
    book = ApprovalBook()
    for number in range(7):
        book.apply(book.ask(question(f"a{number}"), number // 2))
    book.apply(book.decide(yes("bob", "a6"), 3.0))
    seen: list[str] = []
    after = None
    while True:
        page = book.page(QueryApprovals(after=after, limit=3))
        seen += [each.id for each in page.items]
        assert page.open == 6
        if page.next is None:
            break
        after = page.next
    assert seen == ["a6", "a5", "a4", "a3", "a2", "a1", "a0"]
    (one,) = book.page(QueryApprovals(states=(ApprovalState.GIVEN,))).items
    assert one.id == "a6"
    assert book.page(QueryApprovals(id="a2")).items[0].id == "a2"


STEPS = {"a": "one/step", "b": "o%2Fne/step", "c": ""}
NAMES = st.sampled_from(["ada", "bob", "eve"])
ACTS = st.one_of(
    st.builds(
        lambda i, needed, excludes, gives: question(
            i, needed=needed, excludes_asker=excludes, gives_at_deadline=gives, step=STEPS[i]
        ),
        st.sampled_from("abc"), st.integers(1, 3), st.booleans(), st.booleans(),
    ),
    st.builds(lambda by, i, gives: yes(by, i, gives=gives), NAMES, st.sampled_from("abc"),
              st.booleans()),
    st.builds(lambda i: WithdrawApproval(id=i, by="ada"), st.sampled_from("abc")),
    st.builds(lambda i: WithdrawForExecution(execution_id=i), st.sampled_from(["one", "o/ne"])),
    st.floats(0.0, 8.0),
)  # fmt: skip


@settings(max_examples=examples(400))
@given(st.lists(st.tuples(ACTS, st.booleans()), max_size=40))
def test_whatever_happens_an_answer_is_final_and_has_its_reasons(
    acts: list[tuple[Any, bool]],
) -> None:
    book, now = ApprovalBook(open_max=2, ended_max=2), 0.0
    ended: dict[tuple[str, float], Approval] = {}
    for act, is_stored in acts:
        before = {each.id: each for each in book}
        changes: Changes = {}
        try:
            match act:
                case float():
                    now += act
                    changes = book.expire(now)
                case AskApproval():
                    changes = book.ask(act, now)
                case DecideApproval():
                    changes = book.decide(act, now)
                case WithdrawForExecution():
                    changes = book.withdraw_for(act, now)
                    assert {each.id for each in changes.values() if each is not None} == {
                        each.id
                        for each in book
                        if each.is_open and each.step.startswith(f"{escaped(act.execution_id)}/")
                    }
                case _:
                    changes = book.withdraw(act, now)
        except CallboardError:
            pass
        assert {each.id: each for each in book} == before, "a proposal changes nothing"
        if not is_stored:  # The store did not take it.
            continue
        book.apply(changes)
        assert book.open <= 2
        assert len(list(book)) <= 4
        for each in book:
            old = before.get(each.id)
            if old is not None and old.asked_at == each.asked_at:
                assert each.state is old.state or each.state in NEXT[old.state]
            key = (each.id, each.asked_at)
            if not each.is_open:
                assert ended.setdefault(key, each) == each, "an answer is final"
            givers = {one.by for one in each.decisions if one.gives}
            assert len(givers) == sum(one.gives for one in each.decisions)
            assert (each.state is ApprovalState.GIVEN) == (
                len(givers) >= each.needed and all(one.gives for one in each.decisions)
            )
            assert (each.state is ApprovalState.REFUSED) == any(
                not one.gives for one in each.decisions
            )
            assert all(one.at < each.ends_at for one in each.decisions)
            assert not (each.excludes_asker and any(one.by == "ada" for one in each.decisions))
            if each.state is ApprovalState.EXPIRED:
                assert each.ended_at == each.ends_at <= now
        if isinstance(act, DecideApproval) and changes and book.get(act.id):
            assert not book.decide(act, now), "a repetition changes nothing"
