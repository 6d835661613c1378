"""Dead letters: counted by reason, sent to subscribers, and harmless to all else."""

import logging

import pytest

from callboard.actors.kernel.asks import Ask
from callboard.actors.kernel.dead_letters import LOGGED_MAX, DeadLetters
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, MailboxFull


class Job(Contract, name="tests.dead_letters.job"):
    pass


class NoSink:
    def reply(self, correlation: int, message: Contract | None) -> None:
        raise AssertionError

    def partial(self, correlation: int, message: Contract) -> None:
        raise AssertionError

    def fail(self, correlation: int, error: CallboardError) -> None:
        raise AssertionError


@pytest.fixture
def dead_letters(caplog: pytest.LogCaptureFixture) -> DeadLetters:
    caplog.set_level(logging.WARNING, logger="callboard.dead_letters")
    return DeadLetters("host-1")


def test_dead_letters_are_counted_by_reason(dead_letters: DeadLetters) -> None:
    for reason in ("no_actor", "expired", "no_actor"):
        dead_letters.dead(reason, "/a", Job())
    assert dead_letters.counts == {"no_actor": 2, "expired": 1}


def test_subscriber_gets_a_dead_letter_without_the_message(dead_letters: DeadLetters) -> None:
    got: list[DeadLetter] = []
    dead_letters.subscribe(got.append)
    error = MailboxFull("full.", advice="wait.", may_have_run=False)
    dead_letters.dead("mailbox_full", "/a/b", Job(), error)
    assert got == [
        DeadLetter(
            reason="mailbox_full",
            target="/a/b",
            contract="tests.dead_letters.job",
            host="host-1",
            error=error.to_data(),
        )
    ]


def test_dead_letter_of_an_ask_names_the_request_and_that_of_unreadable_bytes_nothing(
    dead_letters: DeadLetters,
) -> None:
    got: list[str] = []
    dead_letters.subscribe(lambda letter: got.append(letter.contract))
    dead_letters.dead("no_actor", "1/2", Ask(Job(), NoSink(), 1, 0.0))
    dead_letters.dead("undecodable", "1/2", None)
    assert got == ["tests.dead_letters.job", ""]


def test_unsubscribed_gets_no_more_and_may_unsubscribe_twice(dead_letters: DeadLetters) -> None:
    got: list[DeadLetter] = []
    end = dead_letters.subscribe(got.append)
    dead_letters.dead("expired", "/a", Job())
    end()
    end()
    dead_letters.dead("expired", "/a", Job())
    assert len(got) == 1


def test_subscriber_that_raises_is_removed_and_the_others_are_served(
    dead_letters: DeadLetters, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[DeadLetter] = []
    calls: list[int] = []

    def broken(letter: DeadLetter) -> None:
        calls.append(1)
        raise LookupError

    dead_letters.subscribe(broken)
    dead_letters.subscribe(got.append)
    dead_letters.dead("expired", "/a", Job())
    dead_letters.dead("expired", "/a", Job())
    assert (len(calls), len(got)) == (1, 2)
    assert "failed and is removed" in caplog.text


def test_subscriber_may_unsubscribe_while_it_is_called(dead_letters: DeadLetters) -> None:
    got: list[DeadLetter] = []

    def once(letter: DeadLetter) -> None:
        got.append(letter)
        end()

    end = dead_letters.subscribe(once)
    dead_letters.dead("expired", "/a", Job())
    dead_letters.dead("expired", "/a", Job())
    assert len(got) == 1


def test_flood_of_dead_letters_is_no_flood_of_log_lines(
    dead_letters: DeadLetters, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10_000):
        dead_letters.dead("mailbox_full", "/a", Job())
    logged = [record.args[0] for record in caplog.records if isinstance(record.args, tuple)]
    assert logged == [*range(1, LOGGED_MAX + 1), 100, 1_000, 10_000]
