"""A deliberate defect, and its application to the kernel."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

__all__ = ["Mutation"]


@final
@dataclass(frozen=True, slots=True)
class Mutation:
    """One defect: the attribute that it replaces, its owner, and the scenario that finds it."""

    what: str
    owner: Any
    attribute: str
    defect: Callable[[Any], Any]
    """Makes the defective attribute from the right one."""
    scenario: str = "mixed"
    first_seed: int = 0
    """Where the search begins, for a defect that few seeds show."""

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Give the kernel this defect inside a `with` block."""
        right = getattr(self.owner, self.attribute)
        setattr(self.owner, self.attribute, self.defect(right))
        try:
            yield
        finally:
            setattr(self.owner, self.attribute, right)
