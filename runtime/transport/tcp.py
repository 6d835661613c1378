"""TCP between nodes: the address of a process, the port that it takes, options, and Ray's TLS."""

import random
import socket
import ssl
import sys
from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = [
    "ANY_PORT",
    "NO_PORT",
    "TcpAddress",
    "Tls",
    "bind",
    "new_socket",
    "ports_of",
    "tls_of",
    "tune",
]

ANY_PORT: Final = "any"
NO_PORT: Final = "off"
PORT_MAX: Final = 65_535
IDLE_S: Final = 10
"""The kernel asks an idle peer for a sign of life after so long."""
PROBE_EVERY_S: Final = 5
PROBES: Final = 3
UNHEARD_S_MAX: Final = 10.0
"""A connection breaks when the peer has acknowledged no byte for so long, though some were sent: a
cut of a few seconds is not the end of it. Its frames go by Ray calls then, and to a new one."""
TLS_FILES: Final = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")


class TcpAddress(NamedTuple):
    """Where a process listens for other nodes, and the token that a peer must know."""

    host: str
    port: int
    token: bytes
    is_encrypted: bool
    """Whether TLS follows the proof."""


class Tls(NamedTuple):
    """Ray's certificates, for both ends. Each verifies the other."""

    listener: ssl.SSLContext
    peer: ssl.SSLContext


def ports_of(text: str) -> range | None:
    """The ports that `frame_ports` allows: `any` (0 to 0), `off` (none), one, or `11000-11999`.

    Raises `ValueError` for another text.
    """
    if text == NO_PORT:
        return None
    if text == ANY_PORT:
        return range(1)
    first, dash, last = text.partition("-")
    if not all(part.isascii() and part.isdigit() for part in (first, last if dash else "0")):
        raise ValueError(f"{text!r} names no ports.")
    low, high = int(first), int(last if dash else first)
    if not 1 <= low <= high <= PORT_MAX:
        raise ValueError(f"{text!r} names no ports.")
    return range(low, high + 1)


def new_socket(host: str) -> socket.socket:
    """A socket for this address, of version 4 or 6."""
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)


def bind(host: str, ports: range) -> socket.socket:
    """A socket that listens on a port of this address of this machine. Raises `OSError`."""
    # Processes that start together would all try the same ports one after the other.
    first = random.randrange(len(ports))  # noqa: S311 - no secret
    error = OSError("there is no port to try")
    for index in range(len(ports)):
        bound = new_socket(host)
        try:
            # Connections of a process that has just ended do not keep its port.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, ports[(first + index) % len(ports)]))
            bound.listen()
        except OSError as taken:
            bound.close()
            error = taken
        else:
            return bound
    raise error


def tune(connection: socket.socket) -> None:
    """Let frames leave at once, and a peer that is gone be noticed. Raises `OSError`."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
        limit_ms = int(UNHEARD_S_MAX * 1000)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)


def tls_of(environment: Mapping[str, str]) -> Tls | None:
    """The TLS that Ray's variables turn on; None without it.

    Raises `OSError` when they turn it on, and the files are missing or wrong.
    """
    if environment.get("RAY_USE_TLS", "0").lower() not in {"1", "true"}:
        return None
    missing = [name for name in TLS_FILES if not environment.get(name)]
    if missing:
        raise OSError(f"RAY_USE_TLS is set without {', '.join(missing)}")
    certificate, key, authority = (environment[name] for name in TLS_FILES)
    listener = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listener.verify_mode = ssl.CERT_REQUIRED
    peer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # It verifies the peer's address as well.
    for context in (listener, peer):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority)
    return Tls(listener, peer)
