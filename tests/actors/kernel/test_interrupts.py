"""Ctrl-C is distinguished from a `KeyboardInterrupt` of user code, whatever handles the signal."""

import asyncio
import concurrent.futures
import functools
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from callboard.actors.kernel.interrupts import is_interrupt


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def press_in_a_loop() -> None:
    for _ in range(3):
        press()


def raise_it() -> None:
    raise KeyboardInterrupt


def raise_it_again() -> None:
    try:
        raise_it()
    except KeyboardInterrupt as error:
        raise error from None


def caught(call: Callable[[], None]) -> BaseException:
    with pytest.raises(KeyboardInterrupt) as found:
        call()
    return found.value


def own_handler(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture(
    params=[
        pytest.param(signal.default_int_handler, id="default"),
        pytest.param(own_handler, id="own"),
        pytest.param(functools.partial(own_handler, 1), id="partial"),
    ]
)
def handled(request: pytest.FixtureRequest) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("call", [press, press_in_a_loop])
def test_a_signal_is_an_interrupt(call: Callable[[], None]) -> None:
    assert is_interrupt(caught(call))


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("call", [raise_it, raise_it_again])
def test_a_raise_is_none(call: Callable[[], None]) -> None:
    assert not is_interrupt(caught(call))


def test_no_other_error_is_one() -> None:
    assert not is_interrupt(SystemExit(2))
    assert not is_interrupt(asyncio.CancelledError())


def test_there_is_none_in_another_thread() -> None:
    def query() -> bool:
        return is_interrupt(caught(raise_it))

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        assert not threads.submit(query).result()
        with pytest.raises(KeyboardInterrupt) as found:
            threads.submit(raise_it).result()
    assert not is_interrupt(found.value), "nor when the main thread gets it from there"
