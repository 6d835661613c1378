"""Specs and exits: every refusal names its field, and all values pickle."""

import math
import pickle
from collections.abc import Callable

import pytest

from callboard.messages.control.lifecycle import SHUT_DOWN, Exit, ExitReason
from callboard.messages.control.spec import (
    Backoff,
    ChildSpec,
    Intensity,
    Restart,
    StopTimeout,
    SupervisorSpec,
)
from callboard.messages.core.errors import HandlerFailed, SpecError


@pytest.mark.parametrize(
    ("field", "build"),
    [
        ("Backoff.min_s", lambda: Backoff(min_s=-0.1)),
        ("Backoff.min_s", lambda: Backoff(min_s=math.nan)),
        ("Backoff.max_s", lambda: Backoff(max_s=math.inf)),
        ("Backoff.max_s", lambda: Backoff(min_s=2.0, max_s=1.0)),
        ("Backoff.factor", lambda: Backoff(factor=0.5)),
        ("Backoff.jitter", lambda: Backoff(jitter=1.1)),
        ("Intensity.restarts", lambda: Intensity(restarts=-1)),
        ("Intensity.restarts", lambda: Intensity(restarts=True)),
        ("Intensity.restarts", lambda: Intensity(restarts=1.5)),  # type: ignore[arg-type]
        ("Intensity.period_s", lambda: Intensity(period_s=0.0)),
        ("StopTimeout.seconds", lambda: StopTimeout(-1.0)),
        ("StopTimeout.seconds", lambda: StopTimeout("5")),  # type: ignore[arg-type]
        ("ChildSpec.id", lambda: ChildSpec(None)),
        ("ChildSpec.id", lambda: ChildSpec("")),
        ("ChildSpec.id", lambda: ChildSpec([])),  # type: ignore[arg-type]
        ("ChildSpec.id", lambda: ChildSpec(("host", []))),
        ("ChildSpec.restart", lambda: ChildSpec(1, restart="always")),  # type: ignore[arg-type]
        ("ChildSpec.stop_timeout", lambda: ChildSpec(1, stop_timeout=5)),  # type: ignore[arg-type]
        ("ChildSpec.significant", lambda: ChildSpec(1, significant=True)),
        ("SupervisorSpec.strategy", lambda: SupervisorSpec("all")),  # type: ignore[arg-type]
        ("SupervisorSpec.children_max", lambda: SupervisorSpec(children_max=0)),
        ("SupervisorSpec.children_max", lambda: SupervisorSpec(children_max=1.5)),  # type: ignore[arg-type]
    ],
)
def test_refusal_names_its_field(field: str, build: Callable[[], object]) -> None:
    with pytest.raises(SpecError) as refused:
        build()
    assert refused.value.details["field"] == field
    assert field in refused.value.message
    assert refused.value.advice


def test_specs_are_values_that_pickle() -> None:
    spec = SupervisorSpec()
    assert pickle.loads(pickle.dumps(spec)) == spec
    child = ChildSpec(1, restart=Restart.TRANSIENT, significant=True)
    assert pickle.loads(pickle.dumps(child)) == child
    assert hash(child) == hash(ChildSpec(1, restart=Restart.TRANSIENT, significant=True))


def test_stop_timeout_words() -> None:
    assert StopTimeout.INFINITY.is_infinite
    assert StopTimeout.KILL.is_brutal
    assert not StopTimeout(5.0).is_infinite
    assert not StopTimeout(5.0).is_brutal


@pytest.mark.parametrize("kind", ExitReason)
def test_exit_survives_as_data(kind: ExitReason) -> None:
    exit_ = Exit.of_error(kind, HandlerFailed("It raised.", remote_type="ValueError"))
    assert Exit.from_data(exit_.to_data()) == exit_
    assert exit_.detail["code"] == "handler_failed"
    assert exit_.is_abnormal is (kind not in {ExitReason.NORMAL, ExitReason.SHUTDOWN})


def test_exit_of_unknown_kind_is_refused() -> None:
    with pytest.raises(SpecError):
        Exit.from_data({"kind": "vanished"})


def test_exits_can_be_hashed_whatever_their_detail() -> None:
    assert len({SHUT_DOWN, Exit(ExitReason.SHUTDOWN), Exit(ExitReason.FAILED, {"a": []})}) == 2
