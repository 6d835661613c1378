"""Where the web server listens, for whom, and its limits."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from callboard.messages.core.errors import UsageError

__all__ = ["WebLimits", "WebSettings"]

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
"""The names by which a browser of this machine reaches it."""
DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class WebLimits:
    """The limits of one web server. Each number says why it has its value."""

    head_timeout_s: float = 5.0
    """For a request's head: no proxy needs longer, and a silent connection holds a descriptor."""
    body_timeout_s: float = 20.0
    """For a request's body, from its head on."""
    body_bytes_max: int = 4 << 20
    """The largest body: a push of metrics has some 2 MB."""
    headers_max: int = 100
    """Browsers send some 20, and proxies add some."""
    header_bytes_max: int = 16_384
    """The names and values of all headers; a cookie has 4 KB at most."""
    stalled_s: float = 30.0
    """A peer that takes no byte for so long, though some wait, is cut off."""
    connections_max: int = 10_000
    """Connections at once, of all kinds."""
    unknown_max: int = 100
    """Sockets that have not said who they are."""
    unknown_per_address_max: int = 10
    """The same from one address; addresses of this machine have the limit of all."""
    unknown_bytes_max: int = 4_096
    """The largest message of such a socket: a token has under 2 KB."""
    unknown_s: float = 5.0
    """For how long a socket may be unknown."""
    joined_bytes_max: int = 65_536
    """What waits for a client leaves in messages of up to this size; 1 is an event a message."""
    control_frames_per_s: int = 200
    """Pings, pongs and parts of messages of one connection; browsers send none by themselves."""
    stop_s: float = 2.0
    """For how long all connections together may take to end."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Where it listens, and which names, pages and proxies count.

    Raises `UsageError` if an address that others reach has neither TLS nor `insecure`, or no
    token.
    """

    host: str = "127.0.0.1"
    """The address; by default only this machine reaches it."""
    port: int = 0
    """0 takes a free one."""
    certificate: Path | None = None
    """A file in PEM format, with the chain."""
    key: Path | None = None
    """The file with its key."""
    insecure: bool = False
    """Whether others may reach it without TLS, for instance behind a proxy."""
    needs_token: bool = True
    """Whether clients must say who they are. Without it, everyone on this machine is its user."""
    hosts: tuple[str, ...] = ()
    """Further names of this server as browsers send them, such as `jobs.example.org:8443`."""
    origins: tuple[str, ...] = ()
    """Further pages that may use it, such as `https://jobs.example.org` behind a proxy with TLS."""
    prefix: str = ""
    """The path under which a proxy shows it, such as `/a/b`; the proxy may strip it or not."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies whose `X-Forwarded-For` and `-Proto` count."""
    limits: WebLimits = field(default_factory=WebLimits)
    """Times, sizes and counts."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise UsageError(
                "The web server has a certificate without a key, or a key without a certificate.",
                advice="Give both files.",
            )
        if self.prefix and (not self.prefix.startswith("/") or self.prefix.endswith("/")):
            raise UsageError(
                f"The prefix {self.prefix!r} of the web server is no path.",
                advice="Write it as `/a/b`.",
            )
        if self.is_loopback:
            return
        if not self.is_encrypted and not self.insecure:
            raise UsageError(
                f"Others reach {self.host!r}, and the web server would not encrypt.",
                advice="Give `certificate` and `key`, or set `insecure=True` behind a proxy.",
            )
        if not self.needs_token:
            raise UsageError(
                f"Others reach {self.host!r}, and the web server would ask for no token.",
                advice="Leave `needs_token` on, or listen on 127.0.0.1.",
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def is_encrypted(self) -> bool:
        """Whether it speaks TLS itself."""
        return self.certificate is not None

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "https" if self.is_encrypted else "http"

    def names(self, port: int) -> frozenset[str]:
        """The `Host` headers that are this server's, in small letters."""
        own = {*LOOPBACK} if self.is_loopback else {_bracketed(self.host)}
        suffixes = [f":{port}", *([""] if DEFAULT_PORTS[self.scheme] == port else [])]
        found = {f"{name}{suffix}" for name in own for suffix in suffixes}
        return frozenset(found | {name.lower() for name in self.hosts})

    def pages(self, port: int) -> frozenset[str]:
        """The `Origin` headers of pages that may use it."""
        own = {f"{self.scheme}://{name}" for name in self.names(port)}
        return frozenset(own | {origin.lower() for origin in self.origins})

    def url(self, port: int) -> str:
        """Where it is, for people."""
        name = "127.0.0.1" if self.host == "localhost" else _bracketed(self.host)
        return f"{self.scheme}://{name}:{port}{self.prefix}/"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
