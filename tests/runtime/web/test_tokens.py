"""Tokens: what counts, what does not, and what the registry keeps."""

import asyncio
import base64
import hmac
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.streaming.ports import Refused
from callboard.actors.streaming.protocol import ErrorCode
from callboard.messages.control.filters import ChannelRule, StreamFilter
from callboard.messages.control.principals import LOCAL, Principal, Scope
from callboard.messages.core.errors import UsageError
from callboard.runtime.stores.memory import MemoryReadModelStore
from callboard.runtime.stores.sqlite import SqliteReadModelStore
from callboard.runtime.web.token_keys import TokenKeys, new_keys, open_keys
from callboard.runtime.web.token_registry import TokenRegistry
from callboard.runtime.web.tokens import CODE_S, PAGE_TOKEN_S, Tokens
from tests.thoroughness import examples

HERE = "127.0.0.1"
HOUR_S = 3_600.0
ADA = LOCAL.model_copy(update={"subject": "local:ada"})


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Made:
    """Tokens of one system, and the parts that made them."""

    def __init__(self, system: str = "one", keys: TokenKeys | None = None) -> None:
        self.clock = Clock()
        self.keys = keys or new_keys()
        self.registry = TokenRegistry(MemoryReadModelStore(), system)
        self.tokens = Tokens(self.keys, self.registry, system, self.clock)

    async def token(self, valid_s: float = HOUR_S) -> str:
        text, _ = await self.tokens.create("ada", valid_s, scopes=[Scope.READ], channels=["a:*"])
        return text

    def forged(
        self,
        claims: dict[str, Any] | None = None,
        *,
        key: bytes | None = None,
        algorithm: str = "HS256",
        **headers: Any,
    ) -> str:
        """A token that the attacker, or a defect, has made; by default a right one."""
        right = {
            "iss": "callboard",
            "aud": "callboard:one:access",
            "sub": "ada",
            "jti": self.registry.list_records()[0].id,
            "iat": int(self.clock.now),
            "exp": int(self.clock.now + HOUR_S),
        }
        found = {name: value for name, value in {**right, **(claims or {})}.items() if value != ""}
        secret = self.keys.newest.secret if key is None else key
        return jwt.encode(
            found, secret, algorithm=algorithm, headers={"kid": self.keys.newest.id, **headers}
        )


async def code_of(tokens: Tokens, token: str) -> int:
    with pytest.raises(Refused) as refused:
        await tokens.authenticate(token, HERE)
    if len(token) > 8:
        assert token not in str(refused.value)
    assert refused.value.__cause__ is None
    return int(refused.value.details["code"])


async def test_a_token_says_who_it_is_and_what_it_may() -> None:
    made = Made()
    principal = await made.tokens.authenticate(await made.token(), HERE)
    assert (principal.subject, principal.scopes) == ("ada", (Scope.READ,))
    assert principal.may_subscribe("a:1")
    for channel in ("a", "b:1", "A:1", "\u0430:1", "a\u200b:1", "*", "", "b:a:1"):
        assert not principal.may_subscribe(channel), channel
    assert not principal.may_publish("a:1")
    assert await made.tokens.authenticate(made.forged(), HERE) == principal


@pytest.mark.parametrize(
    "forge",
    [
        lambda m: jwt.encode({"sub": "ada"}, "", algorithm="none"),
        lambda m: jwt.encode(
            jwt.decode(m.forged(), options={"verify_signature": False}),
            "",
            algorithm="none",
            headers={"kid": m.keys.newest.id},
        ),
        lambda m: m.forged(key=b"x" * 32),
        lambda m: m.forged(kid="foreign"),
        lambda m: m.forged(kid="../../etc/passwd"),
        lambda m: m.forged(jku="http://192.0.2.1/keys"),
        lambda m: m.forged(jwk={"kty": "oct", "k": "eA"}),
        lambda m: m.forged(crit=["b64"], b64=False),
        lambda m: m.forged({"aud": "callboard:two:access"}),
        lambda m: m.forged({"aud": "callboard:one:session"}),
        lambda m: m.forged({"aud": ["callboard:one:session"]}),
        lambda m: m.forged({"iss": "other"}),
        lambda m: m.forged({"exp": ""}),
        lambda m: m.forged({"aud": ""}),
        lambda m: m.forged({"sub": ""}),
        lambda m: m.forged({"jti": ""}),
        lambda m: m.forged({"jti": "unknown"}),
        lambda m: m.forged({"sub": "eve"}),
        lambda m: m.forged({"nbf": int(m.clock.now + HOUR_S)}),
        lambda m: m.forged({"exp": "tomorrow"}),
        lambda m: m.forged({"pad": "x" * 5_000}),
        lambda m: m.forged() + "=",
        lambda m: m.forged()[:-2],
        lambda m: "a.b.c",
        lambda m: "...",
        lambda m: "\u00e9" * 9,
        lambda m: "",
    ],
)
async def test_a_forged_token_counts_for_nothing(forge: Callable[[Made], str]) -> None:
    made = Made()
    await made.token()
    assert await code_of(made.tokens, forge(made)) == ErrorCode.UNAUTHORIZED


async def test_the_algorithm_of_a_key_is_fixed_whatever_a_token_says() -> None:
    made = Made()
    text = made.forged() if await made.token() else ""
    _, claims, signature = text.split(".")
    for algorithm in ("none", "RS256", "ES256", "HS512", "EdDSA", "hs256"):
        header = json.dumps({"alg": algorithm, "kid": made.keys.newest.id, "typ": "JWT"}).encode()
        forged = base64.urlsafe_b64encode(header).decode().rstrip("=")
        for end in (signature, ""):
            wrong = f"{forged}.{claims}.{end}"
            assert await code_of(made.tokens, wrong) == ErrorCode.UNAUTHORIZED


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda b: b.decode("latin-1"))))
@settings(max_examples=examples(200))
async def test_any_text_is_refused(text: str) -> None:
    made = Made()
    await made.token()
    await code_of(made.tokens, text)
    whole = made.forged()
    for place in (3, len(whole) // 2, len(whole) - 3):
        await code_of(made.tokens, whole[:place] + (text or "-") + whole[place:])


async def test_a_token_ends_and_says_that_a_new_one_is_wanted() -> None:
    made = Made()
    token = await made.token(valid_s=60)
    made.clock.now += 65  # Within the leeway for clocks that differ.
    assert (await made.tokens.authenticate(token, HERE)).subject
    made.clock.now += 6
    assert await code_of(made.tokens, token) == ErrorCode.TOKEN_EXPIRED


async def test_a_revoked_token_is_refused_within_a_second() -> None:
    made = Made()
    token = await made.token()
    principal = await made.tokens.authenticate(token, HERE)
    other = Tokens(made.keys, made.registry, "one", made.clock)  # Another hub.
    assert (await other.authenticate(token, HERE)).subject
    await made.tokens.revoke(principal.token)
    made.clock.now += 0.5
    for tokens in (made.tokens, other):
        assert await code_of(tokens, token) == ErrorCode.UNAUTHORIZED
        assert list(await tokens.revoked([principal.token, "", "unknown"])) == [
            principal.token,
            "unknown",
        ]
    with pytest.raises(UsageError):
        await made.tokens.revoke("unknown")


async def test_the_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made()
    token = await made.token()
    compared = []
    real = hmac.compare_digest

    def spy(one: Any, two: Any) -> bool:
        compared.append(one)
        return real(one, two)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    await made.tokens.authenticate(token, HERE)
    await code_of(made.tokens, token[:-4] + "AAAA")
    assert len(compared) == 2


async def test_a_link_is_used_once_and_not_later() -> None:
    made = Made()
    code = await made.tokens.create_code(ADA)
    rivals = [Tokens(made.keys, made.registry, "one", made.clock) for _ in range(20)]
    outcomes = await asyncio.gather(*(each.redeem(code) for each in rivals), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in outcomes) == 1
    late = await made.tokens.create_code(ADA)
    made.clock.now += CODE_S + 1
    for wrong in (code, late, "", "x" * 200, "\ud800"):
        with pytest.raises(Refused):
            await made.tokens.redeem(wrong)


async def test_a_session_has_what_its_principal_has_and_ends_with_its_token() -> None:
    made = Made()
    ends_at = made.clock.now + 60.0
    asker = Principal(
        subject="ci", way="http", scopes=(Scope.ADMIN, Scope.PUBLISH), channels=("*",),
        publishes=("orders",), token="t", expires_at=ends_at,
    )  # fmt: skip
    session, _ = await made.tokens.redeem(await made.tokens.create_code(asker))
    _, principal = await made.tokens.page_token(session)
    assert (principal.may_publish("orders"), principal.may_publish("other")) == (True, False)
    assert principal.expires_at <= ends_at


async def test_no_token_has_the_subject_of_a_user_of_the_machine() -> None:
    with pytest.raises(UsageError, match="user of this machine"):
        await Made().tokens.create("local:root", HOUR_S, scopes=())


async def test_a_session_gives_short_tokens_and_is_none_itself() -> None:
    made = Made()
    session, record = await made.tokens.redeem(await made.tokens.create_code(ADA))
    assert await code_of(made.tokens, session) == ErrorCode.UNAUTHORIZED
    token, principal = await made.tokens.page_token(session)
    assert principal.expires_at == made.clock.now + PAGE_TOKEN_S
    assert (await made.tokens.authenticate(token, HERE)).subject
    with pytest.raises(Refused):
        await made.tokens.page_token(token)
    await made.tokens.revoke(record.id)
    made.clock.now += 0.5
    assert await code_of(made.tokens, token) == ErrorCode.UNAUTHORIZED
    with pytest.raises(Refused):
        await made.tokens.page_token(session)


async def test_a_subscription_token_is_for_one_subject_and_one_channel() -> None:
    made = Made()
    principal = await made.tokens.authenticate(await made.token(), HERE)
    other = principal.model_copy(update={"subject": "eve"})
    token = made.tokens.subscription_token("ada", "room:1", HOUR_S)
    assert await made.tokens.subscription(token, principal, "room:1") > made.clock.now
    for who, channel in ((other, "room:1"), (principal, "room:2"), (principal, "room:*")):
        with pytest.raises(Refused):
            await made.tokens.subscription(token, who, channel)
    with pytest.raises(Refused):
        await made.tokens.authenticate(token, HERE)
    with pytest.raises(Refused):
        await made.tokens.subscription(await made.token(), principal, "room:1")


async def test_the_last_use_is_known_to_the_minute() -> None:
    made = Made()
    token = await made.token()
    for step_s in (1.0, 30.0, 61.0):
        made.clock.now += step_s
        await made.tokens.authenticate(token, HERE)
    (record,) = await made.tokens.list_records()
    assert record.last_used_at == made.clock.now


# --- files ---------------------------------------------------------------------------------------


def test_processes_that_make_the_keys_at_once_get_the_same_ones(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "one.keys"
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: open_keys(path), range(16)))
    assert {each.newest.secret for each in found} == {open_keys(path).newest.secret}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["one.keys"]
    assert found[0].newest.secret.hex() not in repr(found[0])


@given(st.binary(max_size=100))
@settings(max_examples=examples(60))
def test_a_damaged_file_of_keys_is_named(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.keys"
        path.write_bytes(data)
        with pytest.raises(UsageError, match="is no file of keys"):
            open_keys(path)


REVOKE = """
import os, signal, sys
from callboard.runtime.stores.sqlite import SqliteReadModelStore
from callboard.runtime.web.token_registry import TokenRegistry
store = SqliteReadModelStore(sys.argv[1])
store.open()
TokenRegistry(store, "one").revoke(sys.argv[2], 1.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_revocation_survives_the_kill_of_its_process(tmp_path: Path) -> None:
    path = tmp_path / "tokens.db"
    store = SqliteReadModelStore(path)
    store.open()
    keys, registry = new_keys(), TokenRegistry(store, "one")
    token, record = await Tokens(keys, registry, "one").create("ada", HOUR_S, scopes=[])
    command = [sys.executable, "-c", REVOKE, str(path), record.id]
    done = await asyncio.to_thread(subprocess.run, command, env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    assert await code_of(Tokens(keys, registry, "one"), token) == ErrorCode.UNAUTHORIZED
    store.close()
    for file in tmp_path.iterdir():
        assert token.encode() not in file.read_bytes()


RULE = ChannelRule(channels="a:*", filter=StreamFilter(key="tenant", cmp="eq", val="secret-7"))


async def test_a_token_subscribes_by_its_claims() -> None:
    made = Made()
    text, _ = await made.tokens.create(
        "ada", HOUR_S, scopes=[], channels=["a:*"], subscribes=["a:1", "a:2"]
    )
    assert (await made.tokens.authenticate(text, HERE)).subscribes == ("a:1", "a:2")
    assert jwt.decode(text, options={"verify_signature": False})["subs"] == {"a:1": {}, "a:2": {}}


@pytest.mark.parametrize(
    "wrong",
    [{"subscribes": ["b"]}, {"subscribes": ["a:\n"]}, {"subscribes": [f"a:{n}" for n in range(33)]},
     {"subscribes": ["a:" + "x" * 200] * 6},
     {"rules": [ChannelRule(channels="*", filter=StreamFilter(key="a", cmp="like"))]}],
)  # fmt: skip
async def test_wrong_subscriptions_and_rules_are_refused(wrong: dict[str, Any]) -> None:
    made = Made()
    with pytest.raises(UsageError):
        await made.tokens.create("ada", HOUR_S, scopes=[], channels=["a:*"], **wrong)
    assert not await made.tokens.list_records()


@pytest.mark.parametrize(
    ("claims", "subscribes"),
    [({"channels": ["x", "y"]}, ("x", "y")), ({"subs": {"x": {}}, "channels": ["x"]}, ("x",)),
     ({"subs": 5, "channels": "abc"}, ()), ({"subs": [1, None, "x"]}, ("x",)),
     ({"channels": [f"c{n}" for n in range(99)]}, tuple(f"c{n}" for n in range(32)))],
)  # fmt: skip
async def test_claims_of_a_signed_token_have_the_form_of_the_protocol(
    claims: dict[str, Any], subscribes: tuple[str, ...]
) -> None:
    made = Made()
    _, record = await made.tokens.create("ada", HOUR_S, scopes=[])
    signed = made.tokens._signed(record, "access", record.expires_at, **claims)
    assert (await made.tokens.authenticate(signed, HERE)).subscribes == subscribes


async def test_rules_are_in_no_token_and_follow_to_the_page() -> None:
    made = Made()
    text, _ = await made.tokens.create("ada", HOUR_S, scopes=[], channels=["a:*"], rules=[RULE])
    body = text.split(".")[1]
    assert b"secret-7" not in base64.urlsafe_b64decode(body + "==")
    principal = await made.tokens.authenticate(text, HERE)
    assert principal.rules == (RULE,)
    session, _ = await made.tokens.redeem(await made.tokens.create_code(principal))
    _, page = await made.tokens.page_token(session)
    assert page.rules == (RULE,)


@pytest.mark.parametrize("scope", [Scope.READ, Scope.ADMIN])
async def test_rules_with_a_scope_that_they_do_not_limit_are_refused(scope: Scope) -> None:
    made = Made()
    with pytest.raises(UsageError, match=f"the scope '{scope}', which no rule limits"):
        await made.tokens.create("ada", HOUR_S, scopes=[scope], rules=[RULE])
    assert not await made.tokens.list_records()


async def test_a_record_of_an_older_release_has_no_rules() -> None:
    made = Made()
    _, record = await made.tokens.create("ada", HOUR_S, scopes=[])
    fields = {**asdict(record), "id": "older"}
    del fields["rules"]
    made.registry._change(lambda: {"token/older": json.dumps(fields).encode()})
    [found] = made.registry.find(["older"])
    assert found is not None
    assert found.rules == ()
