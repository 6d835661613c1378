"""The rows of alerts: what is stored is read again, and nothing else is."""

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.alerts.encoding import (
    GroupMoment,
    Owner,
    ReloadedFiles,
    Stored,
    decode,
    encode,
    key_of,
)
from callboard.actors.alerts.grouping import AlertGroup, Notification
from callboard.actors.alerts.health import RuleHealth, RuleState
from callboard.actors.alerts.matching import matcher
from callboard.actors.alerts.silences import Silence
from callboard.actors.alerts.states import Alert, AlertState
from callboard.messages.storage.errors import StoreDamaged

TEXTS = st.text(max_size=20)
IDS = st.text(min_size=1, max_size=8, alphabet="abc123")
TIMES = st.integers(0, 2**62)
LABELS = st.dictionaries(TEXTS, TEXTS, max_size=3).map(lambda each: tuple(sorted(each.items())))
ALERTS = st.builds(
    Alert, id=IDS, rule=IDS, group=TEXTS, labels=LABELS, annotations=LABELS,
    state=st.sampled_from(AlertState), value=st.floats(allow_nan=False), active_since_ns=TIMES,
    fired_at_ns=TIMES, ended_since_ns=TIMES, resolved_at_ns=TIMES,
)  # fmt: skip
NOTIFICATIONS = st.builds(
    Notification, key=IDS, receiver=TEXTS, group=LABELS, made_at_ns=TIMES,
    alerts=st.lists(ALERTS, max_size=2).map(tuple), left_off=st.integers(0, 9),
)  # fmt: skip
ROWS: st.SearchStrategy[Stored] = st.one_of(
    ALERTS,
    st.builds(
        AlertGroup, id=IDS, route=IDS, labels=LABELS, created_ns=TIMES, notified_ns=TIMES,
        sequence=st.integers(0, 9), firing=st.frozensets(IDS), unsure=st.frozensets(IDS),
        open=st.none() | NOTIFICATIONS,
    ),
    st.builds(
        RuleHealth, id=IDS, group=TEXTS, name=TEXTS, expression=TEXTS,
        state=st.sampled_from(RuleState), problem=TEXTS, since_ns=TIMES,
        missing=st.lists(TEXTS, max_size=2).map(tuple),
    ),
    st.builds(GroupMoment, TEXTS, TIMES),
    st.builds(Owner, TIMES, TEXTS),
    st.builds(ReloadedFiles, IDS, st.lists(st.tuples(TEXTS, TEXTS), max_size=2).map(tuple)),
)  # fmt: skip
SILENCE = Silence(
    id="s", matchers=(matcher('a=~"b|c"'), matcher("d!=e")), from_ns=1, until_ns=2, author="me",
    comment="why",
)  # fmt: skip


@given(ROWS)
def test_a_row_is_read_as_it_was_stored(value: Stored) -> None:
    assert decode(key_of(value), encode(value)) == value


def test_a_silence_is_read_as_it_was_stored() -> None:
    assert decode("silence/s", encode(SILENCE)) == SILENCE


@pytest.mark.parametrize(
    "kind", ["alert", "group", "silence", "rule", "moment", "owner", "files", "x"]
)
@given(
    data=st.binary(max_size=60) | st.lists(st.integers(-(2**63), 2**63) | TEXTS).map(msgpack.packb)
)
def test_no_bytes_are_another_row(kind: str, data: bytes) -> None:
    with pytest.raises(StoreDamaged):
        decode(f"{kind}/x", data)


@given(ROWS, st.data())
def test_a_damaged_row_is_noticed_or_another_one(value: Stored, data: st.DataObject) -> None:
    whole = bytearray(encode(value))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(StoreDamaged):
        assert key_of(decode(key_of(value), bytes(whole))) == key_of(value)
