"""Which target is in which wave; pure.

The order of targets comes from a hash of the roll-out and the target: it is the same after each
restart, and another one for each roll-out, so that it does not always meet the same canary. The
first targets of the order are of different types, as many as there are; then the types take part by
their shares.
"""

import hashlib
from collections.abc import Iterable, Sequence

from callboard.messages.core.errors import UsageError

from .plan import WaveSpec

__all__ = ["in_order", "waves_of"]

Named = tuple[str, str]
"""The name of a target, and its type."""


def _place(rollout: str, target: str) -> bytes:
    text = f"{rollout}\0{target}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).digest()


def in_order(rollout: str, targets: Iterable[Named]) -> list[Named]:
    """The targets in the order in which a roll-out reaches them."""
    by_type: dict[str, list[tuple[bytes, str]]] = {}
    for name, kind in targets:
        by_type.setdefault(kind, []).append((_place(rollout, name), name))
    placed: list[tuple[float, bytes, str, str]] = []
    for kind, members in by_type.items():
        members.sort()
        share = 1.0 / len(members)
        placed += [(at * share, hashed, name, kind) for at, (hashed, name) in enumerate(members)]
    placed.sort()
    return [(name, kind) for _, _, name, kind in placed]


def waves_of(rollout: str, targets: Iterable[Named], specs: Sequence[WaveSpec]) -> list[list[str]]:
    """The targets of each wave, in the order of their offers. The last wave has all that are left.

    A wave without targets of its own is left out. Raises `UsageError` for a wave that names what
    is not there.
    """
    order = in_order(rollout, targets)
    _check(order, specs)
    waves: list[list[str]] = []
    taken: set[str] = set()
    for spec in specs:
        percent = int(len(order) * spec.percent / 100.0 + 1e-9)
        size = max(spec.targets, percent, 1 if spec.percent else 0)
        types, names = set(spec.types), set(spec.names)
        chosen = [
            name for name, kind in order if name not in taken and (kind in types or name in names)
        ]
        left = size - len(taken) - len(chosen)
        if left > 0:
            known = {*taken, *chosen}
            chosen += [name for name, _ in order if name not in known][:left]
        if chosen:
            waves.append(chosen)
            taken.update(chosen)
    rest = [name for name, _ in order if name not in taken]
    if rest:
        waves.append(rest)
    return waves


def _check(order: Sequence[Named], specs: Sequence[WaveSpec]) -> None:
    names, types = {name for name, _ in order}, {kind for _, kind in order}
    for number, spec in enumerate(specs, 1):
        for what, wanted, known in (("target", spec.names, names), ("type", spec.types, types)):
            missing = sorted(set(wanted) - known)
            if missing:
                raise UsageError(
                    f"wave {number} names the {what} {missing[0]!r}, which is not there.",
                    advice="`callboard agents` lists the targets.",
                )
