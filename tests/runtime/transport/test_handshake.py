"""The proofs of both sides of a connection: what is accepted, and what never is."""

from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.runtime.transport.handshake import (
    ANSWER_BYTES,
    GREETING_BYTES,
    MAGIC,
    NUMBER_BYTES,
    PROOF_BYTES,
    Challenge,
    Response,
    ShownToken,
)
from tests.thoroughness import examples

TOKENS: Final = st.binary(min_size=32, max_size=32)
NUMBERS: Final = st.binary(min_size=NUMBER_BYTES, max_size=NUMBER_BYTES)


def answered(challenge: Challenge, answer: bytes, cuts: list[int] | None = None) -> bool:
    """Whether an answer is accepted, that comes in pieces of these sizes."""
    rest = answer
    for size in cuts or []:
        part, rest = rest[: min(size, challenge.missing)], rest[min(size, challenge.missing) :]
        challenge.take(part)
    challenge.take(rest[: challenge.missing])
    return challenge.is_right


@settings(max_examples=examples(200))
@given(TOKENS, NUMBERS, NUMBERS, st.lists(st.integers(1, 20), max_size=10))
def test_both_sides_with_the_token_accept_each_other(
    token: bytes, mine: bytes, theirs: bytes, cuts: list[int]
) -> None:
    challenge, response = Challenge(token, mine), Response(token, theirs)
    assert len(challenge.greeting) == GREETING_BYTES
    answer = response.answer(challenge.greeting)
    assert len(answer) == ANSWER_BYTES
    assert answered(challenge, answer, cuts)
    assert len(challenge.proof) == PROOF_BYTES
    assert response.is_right(challenge.proof)


@settings(max_examples=examples(200))
@given(TOKENS, NUMBERS, NUMBERS)
def test_nothing_that_is_sent_has_the_token_in_it(token: bytes, mine: bytes, theirs: bytes) -> None:
    challenge, response = Challenge(token, mine), Response(token, theirs)
    answer = response.answer(challenge.greeting)
    answered(challenge, answer)
    if token not in {mine, theirs}:
        assert token not in challenge.greeting + answer + challenge.proof


@settings(max_examples=examples(200))
@given(TOKENS, TOKENS, NUMBERS, NUMBERS)
def test_another_token_is_refused_by_both_sides(
    token: bytes, other: bytes, mine: bytes, theirs: bytes
) -> None:
    if token == other:
        return
    challenge, response = Challenge(token, mine), Response(other, theirs)
    assert not answered(challenge, response.answer(challenge.greeting))
    assert not response.is_right(challenge.proof)


@settings(max_examples=examples(400))
@given(TOKENS, NUMBERS, NUMBERS, st.integers(0, ANSWER_BYTES * 8 - 1))
def test_an_answer_with_one_wrong_bit_is_refused(
    token: bytes, mine: bytes, theirs: bytes, bit: int
) -> None:
    challenge, response = Challenge(token, mine), Response(token, theirs)
    wrong = bytearray(response.answer(challenge.greeting))
    wrong[bit // 8] ^= 1 << bit % 8
    assert not answered(challenge, bytes(wrong))


@settings(max_examples=examples(200))
@given(TOKENS, NUMBERS, NUMBERS, st.integers(0, PROOF_BYTES * 8 - 1))
def test_a_proof_of_the_listener_with_one_wrong_bit_is_refused(
    token: bytes, mine: bytes, theirs: bytes, bit: int
) -> None:
    challenge, response = Challenge(token, mine), Response(token, theirs)
    assert answered(challenge, response.answer(challenge.greeting))
    wrong = bytearray(challenge.proof)
    wrong[bit // 8] ^= 1 << bit % 8
    assert not response.is_right(bytes(wrong))


@settings(max_examples=examples(200))
@given(TOKENS, NUMBERS, NUMBERS, NUMBERS)
def test_a_recorded_connection_opens_no_other(
    token: bytes, first: bytes, second: bytes, theirs: bytes
) -> None:
    if first == second:
        return
    recorded = Response(token, theirs).answer(Challenge(token, first).greeting)
    assert not answered(Challenge(token, second), recorded)
    # And a listener that was recorded proves nothing to a peer with another number.
    listener, peer = Challenge(token, first), Response(token, second)
    answered(listener, recorded)
    peer.answer(listener.greeting)
    assert peer.is_right(listener.proof) == (second == theirs)


@settings(max_examples=examples(200))
@given(TOKENS, NUMBERS, NUMBERS)
def test_the_words_of_one_side_are_no_proof_of_the_other(
    token: bytes, mine: bytes, theirs: bytes
) -> None:
    """A stranger sends back what it has heard, from this connection or another one."""
    challenge, response = Challenge(token, mine), Response(token, theirs)
    answer = response.answer(challenge.greeting)
    assert not response.is_right(answer[-PROOF_BYTES:])
    assert answered(challenge, answer)
    again = Challenge(token, mine)
    assert not answered(again, MAGIC + theirs + challenge.proof)


@settings(max_examples=examples(200))
@given(TOKENS, NUMBERS, st.binary(max_size=2 * GREETING_BYTES))
def test_any_bytes_as_a_greeting_or_a_proof_are_refused(
    token: bytes, number: bytes, noise: bytes
) -> None:
    response = Response(token, number)
    if len(noise) != GREETING_BYTES or not noise.startswith(MAGIC):
        assert response.answer(noise) == b""
    assert not response.is_right(noise)
    assert not answered(Challenge(token, number), noise)


def test_a_peer_that_has_not_answered_accepts_no_proof() -> None:
    token, number = b"t" * 32, b"n" * NUMBER_BYTES
    response = Response(token, number)
    challenge = Challenge(token, b"m" * NUMBER_BYTES)
    assert answered(challenge, Response(token, number).answer(challenge.greeting))
    assert not response.is_right(challenge.proof)


@given(TOKENS, TOKENS)
def test_inside_a_node_the_token_itself_is_shown(token: bytes, other: bytes) -> None:
    for shown in (token, other):
        admission = ShownToken(token)
        assert (admission.greeting, admission.missing, admission.proof) == (b"", 32, b"")
        admission.take(shown[:10])
        assert not admission.is_right
        admission.take(shown[10:])
        assert admission.missing == 0
        assert admission.is_right == (shown == token)
