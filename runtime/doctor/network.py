"""Ports and addresses: the listeners on Ray's ports, and whether an address answers in time.

Nothing here can hang. Every connection attempt, with the resolution of its name, ends at its
deadline.
"""

import os
import socket
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import psutil

from callboard.messages.core.errors import UsageError

from .check import Check, Status

__all__ = [
    "ADDRESS_DEADLINE_S",
    "RAY_PORTS",
    "Endpoint",
    "check_port",
    "cluster_error",
    "connect_error",
    "grpc_error",
    "is_listening",
    "parse_address",
    "port_owner",
]

ADDRESS_DEADLINE_S: Final = 5.0
LOOPBACK_DEADLINE_S: Final = 0.5
PORT_MAX: Final = 65_535
HTTP2_GREETING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""The begin of a gRPC connection: the preface, and empty settings."""
HTTP2_FRAME_HEAD_BYTES: Final = 9
HTTP2_SETTINGS: Final = 4
RAY_PORTS: Final = {6379: "the head's GCS", 8265: "the dashboard", 10001: "Ray Client"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(address: str) -> Endpoint:
    """The endpoint that `host:port` or `[v6]:port` names.

    Raises UsageError when it names none.
    """
    text = address.strip()
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname, parts.port
        known = not parts.scheme and parts.path in {"", "/"}
    except ValueError:  # a port that is no number, or too large
        host, port, known = None, None, False
    if not host or not port or not known:
        message = f"{address!r} is not the address of a cluster."
        raise UsageError(message, advice="Write host:port, for instance 192.0.2.10:6379.")
    return Endpoint(host, port)


def connect_error(endpoint: Endpoint, deadline_s: float) -> str | None:
    """Why no TCP connection to `endpoint` succeeded within `deadline_s`; None if one did.

    The attempt runs in a thread of its own, because the resolution of a name has no timeout. A
    thread that misses the deadline is abandoned.
    """
    return _attempt(endpoint, deadline_s, lambda _connection: None)


def grpc_error(endpoint: Endpoint, deadline_s: float) -> str | None:
    """Why no gRPC server without TLS answered at `endpoint` in time; None if one did.

    A port that accepts connections may still be silent, or belong to another program. Ray's client
    would wait for it for ever.
    """

    def greet(connection: socket.socket) -> str | None:
        connection.sendall(HTTP2_GREETING)
        head = b""
        while len(head) < HTTP2_FRAME_HEAD_BYTES:
            part = connection.recv(HTTP2_FRAME_HEAD_BYTES - len(head))
            if not part:
                return "it hung up at a greeting of gRPC"
            head += part
        return None if head[3] == HTTP2_SETTINGS else "it does not speak gRPC"

    return _attempt(endpoint, deadline_s, greet)


def cluster_error(endpoint: Endpoint, deadline_s: float) -> str | None:
    """Why no possible cluster answered at `endpoint` in time; None if one did.

    With Ray's TLS only the connection is checked: the negotiation of TLS precedes everything that
    this check could recognise.
    """
    uses_tls = os.environ.get("RAY_USE_TLS", "0") not in {"", "0"}
    return (connect_error if uses_tls else grpc_error)(endpoint, deadline_s)


def _attempt(
    endpoint: Endpoint, deadline_s: float, talk: Callable[[socket.socket], str | None]
) -> str | None:
    outcome: list[str | None] = []

    def attempt() -> None:
        try:
            place = (endpoint.host, endpoint.port)
            with socket.create_connection(place, timeout=deadline_s) as connection:
                outcome.append(talk(connection))
        except TimeoutError:
            outcome.append(f"no answer within {deadline_s:g} s")
        except OSError as error:
            outcome.append(error.strerror or str(error))

    thread = threading.Thread(target=attempt, name="callboard-connect", daemon=True)
    thread.start()
    thread.join(deadline_s)
    return outcome[0] if outcome else f"no answer within {deadline_s:g} s"


def is_listening(port: int) -> bool:
    """Whether a process of this machine listens on TCP `port`."""
    assert 0 < port <= PORT_MAX, f"{port} is no port"
    if connect_error(Endpoint("127.0.0.1", port), LOOPBACK_DEADLINE_S) is None:
        return True
    # Binding the port on all interfaces finds a listener on another interface.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def port_owner(port: int) -> psutil.Process | None:
    """The process that listens on `port`; None where this is hidden."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr and connection.laddr.port == port and connection.pid:
                return psutil.Process(connection.pid)
    except (psutil.Error, OSError):  # macOS shows sockets of other users to root only
        return None
    return None


def check_port(
    port: int,
    purpose: str,
    *,
    own: Collection[int] = (),
    listening: Callable[[int], bool] = is_listening,
    owner: Callable[[int], psutil.Process | None] = port_owner,
) -> Check:
    """Whether `port` is free. A port in use is no failure: a local Ray then takes another.

    `own` are the processes of the cluster in question, which may have it.
    """
    name = f"port {port}"
    if not listening(port):
        return Check(name, Status.OK, f"free, for {purpose}")
    process = owner(port)
    if process is not None and process.pid in own:
        return Check(name, Status.OK, f"in use by the cluster, process {process.pid}")
    return Check(
        name,
        Status.WARN,
        f"in use by {_named(process)}, so {purpose} cannot have it",
        "If it is your Ray, use it by --address, or end that process (`ray stop` would end every "
        "Ray of yours). A local run takes other ports; `ray start --head` needs another --port.",
    )


def _named(process: psutil.Process | None) -> str:
    if process is None:
        return "a process that this user may not see"
    try:
        return f"{process.name()} (process {process.pid})"
    except psutil.Error:  # It has just ended.
        return f"process {process.pid}"
