"""Where an evaluation gets its values from."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from .syntax import Matching, Selector
from .vectors import Floats, Vector

__all__ = ["SampleSource", "Times"]

Times = npt.NDArray[np.int64]


class SampleSource(Protocol):
    """A source of values. The times are ascending; the selector's offset is for the source."""

    async def instant(self, selector: Selector, times_ns: Times, *, presence: bool) -> Vector:
        """The value of each series at each time. With `presence`, only whether there is one.

        Raises `QueryRefused` for what it cannot give, and the stores' errors.
        """

    async def over(
        self, function: str, selector: Selector, times_ns: Times, parameter: Floats | None
    ) -> Vector:
        """A function of `OVER_TIME`, or `quantile_over_time`, of the range before each time.

        The parameter has a value for each time. The series keep their names. Raises like `instant`.
        """

    async def merged_quantile(
        self, selector: Selector, grouping: Matching, times_ns: Times, quantile: Floats
    ) -> Vector | None:
        """The quantile of all observations in the range, of series put together by some tags.

        None where the source has no such observations, only counters of buckets, if any. Raises
        like `instant`.
        """
