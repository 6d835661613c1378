"""Reducers merge many results into one; resolvers settle conflicts between them."""

from callboard.actors.aggregator.conflicts import (
    Claim,
    ConflictPolicy,
    PolicyResolver,
    Resolution,
    ResolveClaims,
    Resolver,
    make_resolver,
)
from callboard.actors.aggregator.reducers import (
    Collect,
    ConcatLists,
    Count,
    First,
    MergeDicts,
    OnConflict,
    Quorum,
    Reducer,
    Sum,
    Verdict,
    Vote,
    reduce_all,
)

__all__ = [
    "Claim",
    "Collect",
    "ConcatLists",
    "ConflictPolicy",
    "Count",
    "First",
    "MergeDicts",
    "OnConflict",
    "PolicyResolver",
    "Quorum",
    "Reducer",
    "Resolution",
    "ResolveClaims",
    "Resolver",
    "Sum",
    "Verdict",
    "Vote",
    "make_resolver",
    "reduce_all",
]
