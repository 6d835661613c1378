"""The durable registry of tokens, sessions and one-time codes, over a store of read models.

A row is under `token/ID`; it never has the token itself. A one-time code is under the hash of its
text. Each change compares the position of the model, so of two hubs that redeem one code, one gets
it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from callboard.messages.control.filters import ChannelRule
from callboard.messages.control.principals import Principal, Scope
from callboard.messages.core.errors import UsageError
from callboard.messages.storage.errors import StoreUnavailable
from callboard.messages.storage.stores import ReadModelStore

__all__ = ["TokenRecord", "TokenRegistry"]

MODEL: Final = "callboard.tokens"
TOKEN: Final = "token/"  # noqa: S105 - a prefix of keys
CODE: Final = "code/"
ATTEMPTS_MAX: Final = 50
"""Attempts to make a change between those of other processes."""
RECORDS_MAX: Final = 100_000
PAGE: Final = 1_000
TOUCH_S: Final = 60.0
"""How exactly the last use is known."""

Changes = dict[str, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """What the registry has of a token. Times are in seconds since 1970."""

    id: str
    subject: str
    scopes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    """The rules for what it may see, as JSON. They are here alone: a client can read its token."""
    created_at: float
    expires_at: float
    revoked_at: float | None = None
    created_by: str = ""
    """Who made it; empty for a record of an earlier release."""
    revoked_by: str = ""
    last_used_at: float | None = None
    """To the minute; None for never."""

    def principal(self, way: str, expires_at: float, subscribes: tuple[str, ...] = ()) -> Principal:
        """Who it stands for, until a time."""
        return Principal(
            subject=self.subject,
            way=way,
            scopes=tuple(Scope(scope) for scope in self.scopes),
            channels=self.channels,
            publishes=self.publishes,
            subscribes=subscribes,
            rules=tuple(ChannelRule.model_validate_json(rule) for rule in self.rules),
            token=self.id,
            expires_at=min(expires_at, self.expires_at),
        )


class TokenRegistry:
    """The registry of one system. Its methods block: call them in a thread. The store is open."""

    def __init__(self, store: ReadModelStore, system: str) -> None:
        self._store: Final = store
        self._model: Final = f"{MODEL}.{system}"

    def add(self, record: TokenRecord) -> None:
        """Add a record. Raises `UsageError` when there is no room."""

        def changes() -> Changes:
            expired = self._expired(record.created_at)
            return {**expired, TOKEN + record.id: _packed(record)}

        self._change(changes)

    def _expired(self, now: float) -> Changes:
        """Remove what has ended, when there are many records."""
        records = self.list_records()
        if len(records) < RECORDS_MAX // 2:
            return {}
        ended = [TOKEN + each.id for each in records if each.expires_at < now]
        if len(records) - len(ended) >= RECORDS_MAX:
            raise UsageError(
                f"there are {RECORDS_MAX:,} tokens, which is the limit.",
                advice="Give tokens a shorter life.",
            )
        return dict.fromkeys(ended)

    def find(self, ids: Sequence[str]) -> list[TokenRecord | None]:
        """The records of these ids, in their order."""
        found = self._store.get_many(self._model, [TOKEN + each for each in ids])
        return [None if data is None else _unpacked(data) for data in found]

    def list_records(self) -> list[TokenRecord]:
        """All records, the newest first."""
        records: list[TokenRecord] = []
        after = ""
        while page := self._store.items(self._model, TOKEN, after=after, limit=PAGE):
            records += [_unpacked(data) for _, data in page]
            after = page[-1][0]
        return sorted(records, key=lambda record: record.created_at, reverse=True)

    def revoke(self, token_id: str, now: float, by: str = "") -> TokenRecord:
        """Revoke a token; it stays revoked. Raises `UsageError` for an unknown one."""
        revoked: list[TokenRecord] = []

        def changes() -> Changes:
            (record,) = self.find([token_id])
            if record is None:
                raise UsageError(
                    f"there is no token {token_id!r}.", advice="`callboard token list` has them."
                )
            if record.revoked_at is None:
                record = replace(record, revoked_at=now, revoked_by=by)
            revoked[:] = [record]
            return {TOKEN + token_id: _packed(record)}

        self._change(changes)
        return revoked[0]

    def touch(self, record: TokenRecord, now: float) -> None:
        """Note a use, at most once a minute; a change of another process is never lost."""
        if record.last_used_at is not None and now - record.last_used_at < TOUCH_S:
            return

        def changes() -> Changes:
            (newest,) = self.find([record.id])
            if newest is None:
                return {}
            return {TOKEN + record.id: _packed(replace(newest, last_used_at=now))}

        self._change(changes)

    # --- one-time codes --------------------------------------------------------------------------

    def add_code(self, code: str, record: TokenRecord, expires_at: float) -> None:
        """Let a code be redeemed once, until a time, for a session that the record describes."""
        data = json.dumps({"record": asdict(record), "expires_at": expires_at}).encode()
        self._change(lambda: {CODE + _hash(code): data})

    def redeem(self, code: str, now: float) -> TokenRecord | None:
        """The record of the session that a code begins; None for a wrong, old or used code."""
        key = CODE + _hash(code)
        redeemed: list[TokenRecord] = []

        def changes() -> Changes:
            redeemed.clear()
            (data,) = self._store.get_many(self._model, [key])
            if data is None:
                return {}
            row = json.loads(data)
            if row["expires_at"] < now:
                return {key: None}
            record = _of(row["record"])
            redeemed.append(record)
            return {key: None, TOKEN + record.id: _packed(record)}

        self._change(changes)
        return redeemed[0] if redeemed else None

    def _change(self, changes: Callable[[], Changes]) -> None:
        for _ in range(ATTEMPTS_MAX):
            before = self._store.position(self._model)
            changed = changes()
            if not changed or self._store.apply(self._model, before, before + 1, changed):
                return
        raise StoreUnavailable(
            f"the registry of tokens changed {ATTEMPTS_MAX} times meanwhile.", advice="Try again."
        )


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode(errors="replace")).hexdigest()


def _packed(record: TokenRecord) -> bytes:
    return json.dumps(asdict(record)).encode()


def _unpacked(data: bytes) -> TokenRecord:
    return _of(json.loads(data))


def _of(fields: Mapping[str, Any]) -> TokenRecord:
    names = ("scopes", "channels", "publishes", "rules")
    return TokenRecord(**{**fields, **{name: tuple(fields.get(name, ())) for name in names}})
