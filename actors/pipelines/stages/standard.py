"""The stage types that every pipeline can use."""

from ..registry import StageType
from .changing import ENRICH, ROUTE, TRANSFORM
from .checking import FILTER, VALIDATE
from .cleaning import CLEAN, FORMAT, PARSE
from .grouping import AGGREGATE

__all__ = ["standard_types"]


def standard_types() -> tuple[StageType, ...]:
    """All of them."""
    return (PARSE, CLEAN, VALIDATE, ENRICH, FILTER, TRANSFORM, AGGREGATE, FORMAT, ROUTE)
