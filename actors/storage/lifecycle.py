"""Rules of a dataset's life cycle, in the words of S3's life cycle configuration.

```json
{"Rules": [{"ID": "high", "Status": "Enabled", "Filter": {"Prefix": "metrics/60s/"},
            "Transitions": [{"Days": 1, "StorageClass": "segments"}],
            "Expiration": {"Days": 7}, "RollUp": {"To": "metrics/300s/"}}]}
```

`RollUp` is Callboard's own: rows expire only when this dataset holds what they say. Ages count
from the end of a row's time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from callboard.messages.core.errors import SpecError
from callboard.messages.core.names import shown

__all__ = ["DAY_S", "SEGMENTS", "LifecycleRule", "check_rules", "rules_from_data", "rules_to_data"]

DAY_S: Final = 86_400.0
RULES_MAX: Final = 1_000
ID_CHARACTERS_MAX: Final = 255
SEGMENTS: Final = "segments"
"""The location of a rule that names none: the object store of the one who installs it."""
KEYS: Final = frozenset(
    {"ID", "Status", "Filter", "Transitions", "Expiration", "RollUp", "Compression"}
)


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """What happens to the rows of one dataset as they grow older."""

    id: str
    """Its name, for people and for errors."""
    dataset: str
    """The rows that it is about."""
    hot_s: float
    """The age at which rows leave the hot store for segments."""
    expires_s: float | None = None
    """The age at which they are deleted; None for never."""
    roll_up: str = ""
    """The dataset that must hold what the rows say before they are deleted; empty for none."""
    compression: int = 3
    """The level of zstd, from 1 to 22."""
    location: str = SEGMENTS
    """The object store of the segments."""
    is_enabled: bool = True
    """Whether it has an effect."""


def check_rules(rules: Sequence[LifecycleRule]) -> None:
    """Raise `SpecError` with every problem of these rules, and with the ids of the rules."""
    problems = [f"{shown(rule.id)}: {problem}" for rule in rules for problem in _problems(rule)]
    by_dataset: dict[str, LifecycleRule] = {}
    for rule in rules:
        other = by_dataset.setdefault(rule.dataset, rule)
        if other is not rule:
            problems.append(
                f"{shown(other.id)} and {shown(rule.id)}: both are about {rule.dataset}"
            )
    problems += [problem for rule in rules for problem in _roll_up_problems(rule, by_dataset)]
    if len(rules) > RULES_MAX:
        problems.append(f"there are {len(rules)} rules, at most {RULES_MAX} are allowed")
    if problems:
        raise SpecError(
            f"the life cycle rules are wrong: {'; '.join(problems)}.",
            advice="Nothing was changed. Correct the rules, and set them again.",
        )


def _problems(rule: LifecycleRule) -> list[str]:
    problems = []
    if not rule.id or len(rule.id) > ID_CHARACTERS_MAX:
        problems.append(f"an id has 1 to {ID_CHARACTERS_MAX} characters")
    if not rule.dataset or rule.dataset.endswith("/"):
        problems.append("it names no dataset")
    if not math.isfinite(rule.hot_s) or rule.hot_s < 0:
        problems.append("rows leave the hot store after 0 s or more")
    if rule.expires_s is not None and not (
        math.isfinite(rule.expires_s) and rule.expires_s > 0 and rule.expires_s >= rule.hot_s
    ):
        problems.append("rows would expire before they leave the hot store")
    if not 1 <= rule.compression <= 22:
        problems.append("the level of compression is between 1 and 22")
    return problems


def _roll_up_problems(rule: LifecycleRule, by_dataset: Mapping[str, LifecycleRule]) -> list[str]:
    if not rule.roll_up:
        return []
    coarser = by_dataset.get(rule.roll_up)
    if coarser is None:
        return [f"{shown(rule.id)}: no rule is about {rule.roll_up}, into which it rolls up"]
    if coarser.expires_s is not None and (
        rule.expires_s is None or rule.expires_s > coarser.expires_s
    ):
        return [
            (
                f"{shown(rule.id)} and {shown(coarser.id)}: the coarser rows would expire first, "
                "and the finer ones then wait for ever"
            )
        ]
    return []


def rules_to_data(rules: Sequence[LifecycleRule]) -> dict[str, Any]:
    """The rules in the words of S3."""
    return {
        "Rules": [
            {
                "ID": rule.id,
                "Status": "Enabled" if rule.is_enabled else "Disabled",
                "Filter": {"Prefix": f"{rule.dataset}/"},
                "Transitions": [{"Days": rule.hot_s / DAY_S, "StorageClass": rule.location}],
                **(
                    {}
                    if rule.expires_s is None
                    else {"Expiration": {"Days": rule.expires_s / DAY_S}}
                ),
                **({"RollUp": {"To": f"{rule.roll_up}/"}} if rule.roll_up else {}),
                "Compression": {"Level": rule.compression},
            }
            for rule in rules
        ]
    }


def rules_from_data(data: Any) -> tuple[LifecycleRule, ...]:
    """Read rules in the words of S3. Raises `SpecError` with every problem."""
    entries = data.get("Rules") if isinstance(data, Mapping) else None
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise SpecError(
            "life cycle rules are no mapping with a list `Rules`.",
            advice='Write {"Rules": [{"ID": …, "Filter": {"Prefix": …}, …}]}.',
        )
    rules, problems = [], []
    for number, entry in enumerate(entries, start=1):
        try:
            rules.append(_rule(entry))
        except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            problems.append(f"rule {number}: {shown(str(error))}")
    if problems:
        raise SpecError(
            f"the life cycle rules cannot be read: {'; '.join(problems)}.",
            advice=f"A rule has {', '.join(sorted(KEYS))}. Nothing was changed.",
        )
    check_rules(rules)
    return tuple(rules)


def _rule(entry: Any) -> LifecycleRule:
    unknown = set(entry) - KEYS
    if unknown:
        raise ValueError(f"unknown keys {', '.join(sorted(map(str, unknown)))}")
    status = entry.get("Status", "Enabled")
    if status not in ("Enabled", "Disabled"):
        raise ValueError(f"Status is {status!r}, not Enabled or Disabled")
    (transition,) = entry["Transitions"]
    expiration = entry.get("Expiration")
    return LifecycleRule(
        id=_text(entry["ID"]),
        dataset=_text(entry["Filter"]["Prefix"]).removesuffix("/"),
        hot_s=float(transition["Days"]) * DAY_S,
        expires_s=None if expiration is None else float(expiration["Days"]) * DAY_S,
        roll_up=_text(entry.get("RollUp", {"To": ""})["To"]).removesuffix("/"),
        compression=int(entry.get("Compression", {"Level": 3})["Level"]),
        location=_text(transition.get("StorageClass", SEGMENTS)),
        is_enabled=status == "Enabled",
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
