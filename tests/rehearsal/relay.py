"""A bridge that is slow: each frame between the ports leaves so much later as it came.

For kernels without `netem`. The ports hang on no bridge meanwhile. Frames keep what the kernel has
noted of them (unfinished check sums, joined segments), or the other side would drop them.
"""

import select
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Final

__all__ = ["relay"]

ALL_PROTOCOLS: Final = 3
SOL_PACKET: Final = 263
PACKET_VNET_HDR: Final = 15
PACKET_OUTGOING: Final = 4
NOTES_BYTES: Final = 10
FRAME_BYTES_MAX: Final = 1 << 17
WAITING_MAX: Final = 100_000


def _open(port: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
    opened.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    opened.bind((port, ALL_PROTOCOLS))
    opened.setblocking(False)
    return opened


def relay(delay_s: float, ports: list[str]) -> None:
    """Carry frames between the ports, for ever, and say `ready` first. A full queue drops."""
    lines = {opened.fileno(): opened for opened in map(_open, ports)}
    place_of: dict[bytes, int] = {}
    waiting: deque[tuple[float, int, bytes]] = deque()
    poll = select.poll()
    for number in lines:
        poll.register(number, select.POLLIN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        due_ms = max(0.0, waiting[0][0] - time.monotonic()) * 1000 if waiting else None
        for number, _ in poll.poll(due_ms):
            with suppress(BlockingIOError):
                frame, sender = lines[number].recvfrom(FRAME_BYTES_MAX)
                if sender[2] != PACKET_OUTGOING and len(waiting) < WAITING_MAX:
                    waiting.append((time.monotonic() + delay_s, number, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, came_by, frame = waiting.popleft()
            to, by = frame[NOTES_BYTES:][:6], frame[NOTES_BYTES + 6 :][:6]
            place_of[by] = came_by
            known = place_of.get(to)
            for number in lines if known is None else (known,):
                if number != came_by:
                    with suppress(OSError):
                        lines[number].send(frame)


if __name__ == "__main__":
    relay(float(sys.argv[1]), sys.argv[2:])
