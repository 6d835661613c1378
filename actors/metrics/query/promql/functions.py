"""The functions and aggregations of the subset, and what stands outside of it."""

from typing import Final, NamedTuple

from .syntax import ValueType

__all__ = [
    "AGGREGATIONS",
    "AGGREGATIONS_WITH_PARAMETER",
    "FUNCTIONS",
    "OUTSIDE",
    "OVER_TIME",
    "Signature",
]

SCALAR, VECTOR, RANGE = ValueType.SCALAR, ValueType.VECTOR, ValueType.RANGE


class Signature(NamedTuple):
    """What a function takes and gives."""

    takes: tuple[ValueType, ...]
    gives: ValueType
    optional: int = 0
    """So many of the last arguments may be left out."""


OVER_TIME: Final = (
    "rate", "increase", "avg_over_time", "sum_over_time", "min_over_time", "max_over_time",
    "count_over_time", "last_over_time", "present_over_time",
)  # fmt: skip
"""The functions of one range alone."""

FUNCTIONS: Final = {
    **{name: Signature((RANGE,), VECTOR) for name in (*OVER_TIME, "absent_over_time")},
    **{name: Signature((VECTOR,), VECTOR) for name in ("absent", "abs", "ceil", "floor")},
    "quantile_over_time": Signature((SCALAR, RANGE), VECTOR),
    "histogram_quantile": Signature((SCALAR, VECTOR), VECTOR),
    "round": Signature((VECTOR, SCALAR), VECTOR, optional=1),
    "clamp_min": Signature((VECTOR, SCALAR), VECTOR),
    "clamp_max": Signature((VECTOR, SCALAR), VECTOR),
    "scalar": Signature((VECTOR,), SCALAR),
    "vector": Signature((SCALAR,), VECTOR),
    "time": Signature((), SCALAR),
}

AGGREGATIONS_WITH_PARAMETER: Final = ("topk", "bottomk", "quantile")
AGGREGATIONS: Final = (
    "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", *AGGREGATIONS_WITH_PARAMETER,
)  # fmt: skip

OUTSIDE: Final = {
    "histogram_avg": "Write avg_over_time(NAME[5m]).",
    "irate": "Write rate(NAME[1m]): a window is one minute long at least.",
    **dict.fromkeys(
        ("delta", "idelta"), "Write last_over_time(NAME[5m]) - last_over_time(NAME[5m] offset 5m)."
    ),
    "deriv": "Write (last_over_time(NAME[5m]) - last_over_time(NAME[5m] offset 5m)) / 300.",
    "clamp": "Write clamp_min(clamp_max(NAME, MAXIMUM), MINIMUM).",
    "count_values": "Only numbers are aggregated here; write count by (TAG) (…).",
    "label_replace": "Aggregate by the tags that the series have: sum by (TAG) (…).",
    "sgn": "Write NAME > bool 0.",
    **dict.fromkeys(("sort", "sort_desc"), "Write topk(100, NAME): the highest come first."),
    **dict.fromkeys(
        ("stddev_over_time", "stdvar_over_time"),
        "Write quantile_over_time(0.95, NAME[5m]) - quantile_over_time(0.05, NAME[5m]).",
    ),
}
"""What to write instead of some functions of Prometheus that are outside."""
