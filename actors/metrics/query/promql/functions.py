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
    "delta": "Write last_over_time(NAME[5m]) - last_over_time(NAME[5m] offset 5m).",
    "count_values": "Only numbers are aggregated here; write count by (TAG) (…).",
}
"""What to write instead of some functions of Prometheus that are outside."""
