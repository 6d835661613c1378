"""Mutations of files."""

import random

__all__ = ["mutated"]

PIECES = (
    b"---\n", b": ", b"*x", b"&x ", b"[", b"]", b"{", b"}", b'"', b"'", b"\\", b"\x00", b"\xff",
    b"\n", b"\t", b"!!python/name:os.system ", b"!!binary x", b"$1", b"!`ls`", b"null", b"1e999",
    b"\xe2\x80\xae", b"true", b"-", b"|\n", b"<<: ", b"? ", b"name: ", b"hooks", b"permissions",
    b"(((((((((", b"Bash(", b"2020-13-45", b"0x", b".inf", b"99999999999999999999", b"\xed\xa0\x80",
)  # fmt: skip


def mutated(data: bytes, choose: random.Random) -> bytes:
    """The bytes with one to six changes."""
    changed = bytearray(data)
    for _ in range(choose.randint(1, 6)):
        # The fields stand at the beginning, so that is where most changes go.
        end = len(changed) if choose.random() < 0.3 else min(len(changed), 400)
        at = choose.randint(0, end)
        match choose.randrange(5):
            case 0:
                changed[at : at + choose.randint(1, 20)] = b""
            case 1:
                changed[at:at] = choose.choice(PIECES) * choose.choice((1, 1, 1, 40))
            case 2 if changed:
                changed[min(at, len(changed) - 1)] = choose.randrange(256)
            case 3:
                piece = bytes(changed[at : at + choose.randint(1, 60)])
                changed[at:at] = piece * choose.choice((1, 2, 30))
            case _:
                del changed[at:]
    return bytes(changed)
