"""Tokens: who a client of the web server is, and what it may do.

A token is a JWT, signed by a key of this system. It counts while it has not ended, and its record
in the registry is not revoked. There are four kinds. The audience says which one a token is, and
none counts as another:

| kind | life | where it travels |
|---|---|---|
| access | as `callboard token create` says; 5 minutes for the page's | `Authorization`, connect command |
| session | 12 hours | the page's cookie, which only `POST /v1/token` reads |
| subscription | as its maker says | the subscribe command |
| one-time code (no JWT) | 60 seconds, one use | the fragment of a link, then `POST /v1/login` |

Source: RFC 7519, RFC 8725 (one algorithm for each key, all claims required).
"""  # noqa: E501 - a table has long lines

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import jwt

from callboard.actors.streaming.messages import problem_of
from callboard.actors.streaming.ports import Refused
from callboard.actors.streaming.protocol import ErrorCode
from callboard.actors.streaming.restricted import check_rule
from callboard.messages.control.filters import ChannelRule
from callboard.messages.control.principals import LOCAL_PREFIX, Principal, Scope
from callboard.messages.core.errors import CallboardError, UsageError

from .token_keys import Keys
from .token_registry import TokenRecord, TokenRegistry

__all__ = ["CODE_S", "PAGE_TOKEN_S", "SESSION_S", "Tokens"]

SUBSCRIBES_MAX: Final = 32
"""Channels to which a token subscribes; the answer to a connect has the state of each."""
LEEWAY_S: Final = 10
"""How far the clocks of two machines may be apart."""
TOKEN_CHARS_MAX: Final = 4_096
PAGE_TOKEN_S: Final = 300.0
SESSION_S: Final = 12 * 3_600.0
CODE_S: Final = 60.0
CODE_BYTES: Final = 32
KNOWN_S: Final = 0.4
"""How long a record that was read counts: a revocation reaches every request within a second."""
KNOWN_MAX: Final = 10_000
FORM: Final = re.compile(r"(?:[\w-]{1,4000}\.){2}[\w-]{1,4000}", re.ASCII)
"""Three parts in base64, without padding: a token has one spelling."""
REQUIRED: Final = ("exp", "iat", "aud", "iss", "sub", "jti")
HEADERS: Final = frozenset({"alg", "kid", "typ"})
"""The fields of a token's header; one with another field (`jku`, `jwk`, `crit`) is refused."""
ISSUER: Final = "callboard"
UNRULED: Final = frozenset({Scope.READ, Scope.ADMIN})
"""What these read and give has no channel, so no rule limits it."""


class Tokens:
    """Makes and checks the tokens of one system; an `Authenticator` of the hub.

    `wall_time` gives seconds since 1970.
    """

    def __init__(
        self,
        keys: Keys,
        registry: TokenRegistry,
        system: str,
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        self._keys: Final[Keys] = keys
        self._registry: Final = registry
        self._system: Final = system
        self._wall_time: Final = wall_time
        self._known: dict[str, tuple[float, TokenRecord | None]] = {}

    # --- making ----------------------------------------------------------------------------------

    async def create(
        self,
        subject: str,
        valid_s: float,
        *,
        scopes: Sequence[Scope],
        channels: Sequence[str] = (),
        publishes: Sequence[str] = (),
        by: str = "",
        subscribes: Sequence[str] = (),
        rules: Sequence[ChannelRule] = (),
    ) -> tuple[str, TokenRecord]:
        """A new access token, which is nowhere else, and its record.

        `by` is who creates it, for the record. The hub subscribes its clients to `subscribes` when
        they connect; the token has them in its claim `subs`. What they see of a channel fulfils
        all `rules` that cover it. Raises `UsageError` for a subject that only users of this
        machine have, for wrong channels and rules, and for rules next to the scope `read`
        or `admin`.
        """
        if subject.startswith(LOCAL_PREFIX):
            raise UsageError(
                f"the subject {subject!r} is a user of this machine.",
                advice=f"Choose a subject that does not begin with {LOCAL_PREFIX!r}.",
            )
        if rules and (whole := UNRULED.intersection(scopes)):
            raise UsageError(
                f"a token with rules has the scope {min(whole).value!r}, which no rule limits: the "
                "HTTP API answers whole.",
                advice="Leave out the rules or the scope.",
            )
        for rule in rules:
            check_rule(rule.filter)
        record = self._new_record(subject, valid_s, scopes, channels, publishes, by, rules)
        _check_subscribes(subscribes, record.principal("", 0.0))
        await asyncio.to_thread(self._registry.add, record)
        subs: dict[str, Any] = (
            {"subs": {channel: {} for channel in subscribes}} if subscribes else {}
        )
        return self._signed(record, "access", record.expires_at, **subs), record

    async def create_code(self, principal: Principal) -> str:
        """A one-time code for the fragment of a link to the page of this principal.

        The session may do what the principal may, and ends with its token at the latest.
        """
        now = self._wall_time()
        valid_s = min(SESSION_S, (principal.expires_at or float("inf")) - now)
        record = self._new_record(
            principal.subject,
            valid_s,
            principal.scopes,
            principal.channels,
            principal.publishes,
            principal.subject,
            principal.rules,
        )
        code = secrets.token_urlsafe(CODE_BYTES)
        await asyncio.to_thread(self._registry.add_code, code, record, now + CODE_S)
        return code

    async def redeem(self, code: str) -> tuple[str, TokenRecord]:
        """The token of a new session, for the cookie. Raises `Refused`."""
        record = await asyncio.to_thread(self._registry.redeem, code, self._wall_time())
        if record is None:
            raise Refused("The link has been used, or is too old.", code=ErrorCode.UNAUTHORIZED)
        return self._signed(record, "session", record.expires_at), record

    async def renewed(self, session: str) -> tuple[str, TokenRecord] | None:
        """The session's token, signed by the newest key; None when it already is. Raises `Refused`.

        So a page that stays open does not end with the key that its session began with.
        """
        _, record = await self._checked(session, "session")
        if jwt.get_unverified_header(session)["kid"] == self._keys.newest.id:
            return None
        return self._signed(record, "session", record.expires_at), record

    async def page_token(self, session: str) -> tuple[str, Principal]:
        """A short access token for the page, from the token of its session. Raises `Refused`."""
        claims, record = await self._checked(session, "session")
        expires_at = min(self._wall_time() + PAGE_TOKEN_S, float(claims["exp"]))
        return (
            self._signed(record, "access", expires_at),
            record.principal("http", expires_at),
        )

    def subscription_token(self, subject: str, channel: str, valid_s: float) -> str:
        """A token for one subject's subscription to one channel."""
        record = self._new_record(subject, valid_s, (), (), ())
        return self._signed(record, "subscription", record.expires_at, channel=channel)

    def _new_record(
        self,
        subject: str,
        valid_s: float,
        scopes: Sequence[Scope],
        channels: Sequence[str],
        publishes: Sequence[str],
        by: str = "",
        rules: Sequence[ChannelRule] = (),
    ) -> TokenRecord:
        now = self._wall_time()
        return TokenRecord(
            id=secrets.token_hex(8),
            subject=subject,
            scopes=tuple(map(str, scopes)),
            channels=tuple(channels),
            publishes=tuple(publishes),
            rules=tuple(rule.model_dump_json(exclude_defaults=True) for rule in rules),
            created_at=now,
            expires_at=now + valid_s,
            created_by=by,
        )

    def _signed(self, record: TokenRecord, kind: str, expires_at: float, **more: Any) -> str:
        key = self._keys.newest
        claims = {
            "iss": ISSUER,
            "aud": self._audience(kind),
            "sub": record.subject,
            "jti": record.id,
            "iat": int(self._wall_time()),
            "exp": int(expires_at),
            **more,
        }
        return jwt.encode(claims, key.secret, algorithm=key.algorithm, headers={"kid": key.id})

    def _audience(self, kind: str) -> str:
        return f"callboard:{self._system}:{kind}"

    # --- checking --------------------------------------------------------------------------------

    async def authenticate(self, token: str, remote: str) -> Principal:
        """See `Authenticator`."""
        claims, record = await self._checked(token, "access")
        return record.principal("http", float(claims["exp"]), _subscribes(claims))

    async def subscription(self, token: str, principal: Principal, channel: str) -> float:
        """See `Authenticator`."""
        claims = self._claims(token, "subscription")
        if claims["sub"] != principal.subject or claims.get("channel") != channel:
            raise Refused(
                "The token is for another subscription.", code=ErrorCode.PERMISSION_DENIED
            )
        return float(claims["exp"])

    async def revoked(self, tokens: Collection[str]) -> Collection[str]:
        """See `Authenticator`."""
        ids = [token for token in tokens if token]
        if not ids:
            return ()
        found = await asyncio.to_thread(self._registry.find, ids)
        return [
            token
            for token, record in zip(ids, found, strict=True)
            if record is None or record.revoked_at is not None
        ]

    async def list_records(self) -> list[TokenRecord]:
        """All records, the newest first."""
        return await asyncio.to_thread(self._registry.list_records)

    async def revoke(self, token_id: str, *, by: str = "") -> TokenRecord:
        """Revoke a token. Raises `UsageError` for an unknown one."""
        self._known.pop(token_id, None)
        return await asyncio.to_thread(self._registry.revoke, token_id, self._wall_time(), by)

    async def _checked(self, token: str, kind: str) -> tuple[dict[str, Any], TokenRecord]:
        claims = self._claims(token, kind)
        record = await self._record(str(claims["jti"]))
        if record is None or record.revoked_at is not None or record.subject != claims["sub"]:
            raise Refused("The token has been revoked.", code=ErrorCode.UNAUTHORIZED)
        return claims, record

    async def _record(self, token_id: str) -> TokenRecord | None:
        now = self._wall_time()
        read_at, record = self._known.get(token_id, (-KNOWN_S, None))
        if not 0 <= now - read_at < KNOWN_S:
            (record,) = await asyncio.to_thread(self._registry.find, [token_id])
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[token_id] = (now, record)
            if record is not None:
                await self._touched(record, now)
        return record

    async def _touched(self, record: TokenRecord, now: float) -> None:
        try:
            await asyncio.to_thread(self._registry.touch, record, now)
        except CallboardError:
            return  # A full or busy store must not keep a known client out.

    def _claims(self, token: str, kind: str) -> dict[str, Any]:
        """The claims of a token of this kind. Raises `Refused`, without a word of the token."""
        now = self._wall_time()
        try:
            if len(token) > TOKEN_CHARS_MAX or not FORM.fullmatch(token):
                raise ValueError  # noqa: TRY301 - answered like every other wrong token
            header = jwt.get_unverified_header(token)
            key = self._keys.by_id[header["kid"]]
            if not header.keys() <= HEADERS or header["alg"] != key.algorithm:
                raise ValueError  # noqa: TRY301 - the same
            claims: dict[str, Any] = jwt.decode(
                token,
                key.secret,
                algorithms=[key.algorithm],
                audience=self._audience(kind),
                issuer=ISSUER,
                # The times are compared below, by this object's own clock.
                options={
                    "require": list(REQUIRED),
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            times = [float(claims.get(name, 0.0)) for name in ("exp", "nbf", "iat")]
            subject = claims["sub"]
            if not isinstance(claims["jti"], str) or not isinstance(subject, str) or not subject:
                raise ValueError  # noqa: TRY301 - the same
        except Exception:  # noqa: BLE001 - any bytes from outside; the cause may quote the token
            raise Refused("The token is not valid.", code=ErrorCode.UNAUTHORIZED) from None
        expires_at, not_before, issued_at = times
        if expires_at + LEEWAY_S <= now:
            raise Refused("The token has expired.", code=ErrorCode.TOKEN_EXPIRED)
        if max(not_before, issued_at) - LEEWAY_S > now:
            raise Refused("The token is not valid yet.", code=ErrorCode.UNAUTHORIZED)
        return claims


def _subscribes(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """The channels of a token's claims `channels` and `subs`, as the protocol has them."""
    lists = [claims.get(name) for name in ("channels", "subs")]
    found = [each for part in lists if isinstance(part, list | dict) for each in part]
    channels = dict.fromkeys(each for each in found if isinstance(each, str))
    return tuple(channels)[:SUBSCRIBES_MAX]


def _check_subscribes(channels: Sequence[str], principal: Principal) -> None:
    for channel in channels:
        if problem_of(channel) or not principal.may_subscribe(channel):
            raise UsageError(
                f"the token may not subscribe to {channel!r:.80}.",
                advice="Cover it by a pattern of its channels.",
            )
    if len(channels) > SUBSCRIBES_MAX or sum(map(len, channels)) > TOKEN_CHARS_MAX // 4:
        raise UsageError(
            f"a token subscribes to {len(channels)} channels, which is too many.",
            advice=f"Name at most {SUBSCRIBES_MAX}, of {TOKEN_CHARS_MAX // 4} characters in all.",
        )
