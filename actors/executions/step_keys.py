"""The idempotency keys of the steps of one execution: see `Context.idempotency_key`.

A key must be the same for every attempt of a step, also after a resume by a later release. So the
journal has the form of the keys of each execution.

| form | key |
|---|---|
| 0 | id and step with a slash between them. `a` with `b/c` and `a/b` with `c` have one key |
| 1 | the same with the slashes and percent signs of both escaped: each step has its own key |

Keys of both forms are equal where neither id nor step has such a sign.
"""

from collections.abc import Callable
from typing import Final

from callboard.messages.core.names import escaped

__all__ = ["KEY_FORM", "step_keys"]

KEY_FORM: Final = 1
"""The form of new executions."""


def step_keys(execution_id: str, form: int) -> Callable[[str], str]:
    """The function from a step to its key. One call for each attempt, so it is cheap."""
    if form == 0:
        plain = execution_id + "/"
        return lambda step: plain + step
    prefix = escaped(execution_id) + "/"
    return lambda step: prefix + (escaped(step) if "/" in step or "%" in step else step)
