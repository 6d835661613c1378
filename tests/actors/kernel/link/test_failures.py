"""Errors on the wire: plain data, whatever their details hold."""

from typing import Any

import pytest

from callboard.actors.kernel.link.failures import (
    ERROR_BYTES_MAX,
    decode_error,
    encode_error,
    is_missing_here,
    restarting_host_error,
)
from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStopped,
    HandlerFailed,
    HostLost,
)


def failed(**details: Any) -> HandlerFailed:
    return HandlerFailed("it broke.", advice="Mend it.", **details)


def test_an_error_comes_back_as_it_was() -> None:
    error = failed(count=3, names=["a", "b"], text="\ud800")
    again = decode_error(encode_error(error))
    assert type(again) is HandlerFailed
    assert (again.message, again.advice) == (error.message, error.advice)
    assert again.details["names"] == ["a", "b"]
    assert again.details["text"] == "\\ud800"


@pytest.mark.parametrize("wrong", [object(), 2**80, {1: {2: object()}}, "\ud800", {3}])
def test_details_that_no_codec_knows_become_their_text(wrong: Any) -> None:
    again = decode_error(encode_error(failed(wrong=wrong, count=3)))
    assert type(again) is HandlerFailed
    assert again.details["count"] == 3
    assert again.details == failed(wrong=wrong, count=3).to_data()["details"]


def test_large_details_are_left_out_of_an_error_that_would_be_too_large() -> None:
    rows, long = ["x" * 9_000] * 9, "y" * (ERROR_BYTES_MAX // 4)
    data = encode_error(failed(rows=rows, long=long, short=long[:-1], number=3))
    assert len(data) <= ERROR_BYTES_MAX
    again = decode_error(data)
    assert (again.details["short"], again.details["number"]) == (long[:-1], 3)
    assert not {"rows", "long"} & again.details.keys()


def test_large_details_of_a_smaller_error_stay() -> None:
    again = decode_error(encode_error(failed(rows=["x" * 9_000] * 3, long="y" * 16_000)))
    assert [len(again.details["rows"]), len(again.details["long"])] == [3, 16_000]


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x01\x01"])
def test_bytes_that_are_no_error_say_so(body: bytes) -> None:
    error = decode_error(body)
    assert isinstance(error, HostLost)
    assert "does not decode" in error.message


def test_an_actor_is_missing_here_when_the_error_says_this_slot_or_none() -> None:
    for error in (ActorNotFound("x", advice=""), ActorStopped("x", advice="")):
        assert is_missing_here(error, 1)
    assert is_missing_here(ActorStopped("x", advice="", slot=1), 1)
    assert not is_missing_here(ActorStopped("x", advice="", slot=2), 1)
    assert not is_missing_here(HostLost("x", advice=""), 1)


@pytest.mark.parametrize("may_have_run", [False, True])
def test_a_restarting_host_says_whether_the_ask_may_have_run(may_have_run: bool) -> None:
    stopped = ActorStopped("it stopped.", advice="", may_have_run=may_have_run)
    error = restarting_host_error("host-2", stopped)
    assert error.may_have_run is may_have_run
    assert "host-2 is being restarted" in error.message
