"""Ports and addresses, on real sockets."""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from callboard.messages.core.errors import UsageError
from callboard.runtime.doctor.check import Status
from callboard.runtime.doctor.network import (
    Endpoint,
    check_port,
    cluster_error,
    connect_error,
    grpc_error,
    is_listening,
    parse_address,
    port_owner,
)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return port_of(server)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.10:6379", Endpoint("192.0.2.10", 6379)),
        (" head.example:6379 ", Endpoint("head.example", 6379)),
        ("[2001:db8::1]:6379", Endpoint("2001:db8::1", 6379)),
    ],
)
def test_addresses_that_name_an_endpoint(text: str, endpoint: Endpoint) -> None:
    assert parse_address(text) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "head",
        "head:",
        ":6379",
        "head:port",
        "head:0",
        "head:70000",
        "http://head:80",
        "a:1/b",
        "ray://head:10001",
    ],
)
def test_addresses_that_name_none_are_refused_with_advice(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert "192.0.2.10:6379" in caught.value.advice


def test_an_endpoint_reads_as_it_is_written() -> None:
    assert str(Endpoint("2001:db8::1", 6379)) == "[2001:db8::1]:6379"
    assert str(Endpoint("head", 6379)) == "head:6379"


def test_a_port_that_greets_as_grpc_does_is_an_address_that_answers(
    listener: socket.socket,
) -> None:
    with peer_that_answers(listener, GRPC_SETTINGS):
        assert cluster_error(Endpoint("127.0.0.1", port_of(listener)), 5.0) is None


def test_a_port_that_accepts_and_is_silent_does_not_answer(listener: socket.socket) -> None:
    error = cluster_error(Endpoint("127.0.0.1", port_of(listener)), 0.2)
    assert error == "no answer within 0.2 s"


def test_with_tls_a_connection_is_all_that_can_be_seen(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    assert cluster_error(Endpoint("127.0.0.1", port_of(listener)), 5.0) is None


def test_a_refused_connection_fails_at_once() -> None:
    assert connect_error(Endpoint("127.0.0.1", free_port()), 5.0) == "Connection refused"


def test_an_unknown_host_name_fails() -> None:
    assert connect_error(Endpoint("no-such-host.invalid", 6379), 3.0)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse what Linux drops")
def test_an_address_that_never_answers_costs_its_deadline_and_no_more() -> None:
    with ExitStack() as stack:
        silent = stack.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        # The backlog is full: the kernel now drops new connections, as a firewall does.
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        began = time.monotonic()
        error = connect_error(Endpoint("127.0.0.1", port_of(silent)), 0.3)
        took_s = time.monotonic() - began
    assert error == "no answer within 0.3 s"
    assert took_s < 2


def test_a_connection_that_comes_about_has_no_error(listener: socket.socket) -> None:
    assert connect_error(Endpoint("127.0.0.1", port_of(listener)), 1.0) is None


GRPC_SETTINGS = b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64"


@contextmanager
def peer_that_answers(listener: socket.socket, answer: bytes) -> Iterator[None]:
    """A peer that sends this answer to a greeting and hangs up."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1_000)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def answering(listener: socket.socket, answer: bytes) -> str | None:
    """The result of `grpc_error` for a peer that sends this answer and hangs up."""
    with peer_that_answers(listener, answer):
        return grpc_error(Endpoint("127.0.0.1", port_of(listener)), 5.0)


def test_a_greeting_of_grpc_is_no_error(listener: socket.socket) -> None:
    assert answering(listener, GRPC_SETTINGS) is None


def test_another_protocol_or_a_hang_up_is_no_cluster(listener: socket.socket) -> None:
    assert answering(listener, b"HTTP/1.1 400 Bad Request") == "it does not speak gRPC"
    assert "hung up" in str(answering(listener, b""))
    assert "hung up" in str(answering(listener, b"\0\0\6\4"))


def test_a_silent_peer_costs_its_deadline(listener: socket.socket) -> None:
    assert grpc_error(Endpoint("127.0.0.1", port_of(listener)), 0.2) == "no answer within 0.2 s"


def test_a_port_in_use_is_seen_with_its_owner(listener: socket.socket) -> None:
    port = port_of(listener)
    assert is_listening(port)
    check = check_port(port, "the dashboard")
    assert check.status is Status.WARN
    assert "in use by" in check.found
    assert "ray stop" in check.advice
    owner = port_owner(port)
    assert owner is None or owner.pid == os.getpid()


def test_a_port_of_the_cluster_in_question_is_ok() -> None:
    mine = psutil.Process()
    check = check_port(
        6379, "the head's GCS", own={mine.pid}, listening=lambda _: True, owner=lambda _: mine
    )
    assert check.status is Status.OK
    assert "in use by the cluster" in check.found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_a_listener_on_another_interface_counts() -> None:
    with socket.create_server(("127.0.0.2", 0)) as server:
        assert is_listening(port_of(server))


def test_a_free_port_is_ok() -> None:
    assert check_port(free_port(), "the dashboard").status is Status.OK


def test_a_hidden_owner_is_reported_as_hidden() -> None:
    check = check_port(6379, "the head's GCS", listening=lambda _: True, owner=lambda _: None)
    assert "may not see" in check.found
