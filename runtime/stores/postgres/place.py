"""The place of a store: a PostgreSQL database, and the schema in it that holds one log."""

import re
from dataclasses import dataclass
from typing import Final, Literal, Self
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from callboard.messages.core.errors import SpecError

__all__ = ["SCHEMA_DEFAULT", "Durability", "Place", "PostgresTimeouts"]

SCHEMA_DEFAULT: Final = "callboard"
SCHEMA_NAME: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
SCHEMES: Final = ("postgresql://", "postgres://")
Durability = Literal["full", "normal", "off"]
# With these, TCP notices a peer whose machine is gone. A URL may override them.
TCP: Final = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}


@dataclass(frozen=True, slots=True)
class PostgresTimeouts:
    """Every wait for PostgreSQL is bounded by one of these; in seconds."""

    connect_s: float = 5.0
    """One attempt to connect. libpq takes whole seconds, at least 2."""
    reconnect_s: float = 10.0
    """All attempts to connect, with growing pauses. Then the store counts as unavailable."""
    statement_s: float = 30.0
    """One statement. The server ends it."""
    lock_s: float = 10.0
    """One wait for a lock. The server ends it."""
    silence_s: float = 5.0
    """The server's extra time after `statement_s` to report the end. Then the client disconnects.
    """
    borrow_s: float = 30.0
    """The wait for a connection while other threads use them all."""


@dataclass(frozen=True, slots=True)
class Place:
    """A database, and a schema in it. Its text contains no password and no user."""

    conninfo: str
    schema: str
    shown: str

    def __repr__(self) -> str:
        return f"Place({self.shown})"

    __str__ = __repr__

    @classmethod
    def of(cls, url: str, timeouts: PostgresTimeouts) -> Self:
        """The place that a URL names. Raises `SpecError`, without the URL's secrets."""
        if not url.startswith(SCHEMES):
            raise SpecError(
                "the URL of a PostgreSQL store begins with `postgresql://`.",
                advice="Write postgresql://user@host:5432/database?schema=callboard.",
            )
        head, _, query = url.partition("?")
        options = [option.partition("=") for option in query.split("&") if option]
        named = [unquote(value) for key, _, value in options if key == "schema"]
        schema = named[-1] if named else SCHEMA_DEFAULT
        if not SCHEMA_NAME.fullmatch(schema):
            raise SpecError(
                f"{schema!r} cannot be the schema of a store.",
                advice="Use a-z, digits and underscores; at most 63 characters, not `pg_` first.",
            )
        try:
            others = "&".join("".join(option) for option in options if option[0] != "schema")
            given = conninfo_to_dict(f"{head}?{others}" if others else head)
        except psycopg.Error:
            # libpq's text repeats parts of the URL, even the password.
            raise SpecError(
                "the URL of the PostgreSQL store cannot be read.",
                advice="Check it by `psql URL`, without the option `schema`. Write characters like "
                "`@` and `/` in a password as %40 and %2F.",
            ) from None
        parts = {key: str(value) for key, value in given.items() if value is not None}
        silence_ms = round((timeouts.statement_s + timeouts.silence_s) * 1_000)
        defaults = {
            **TCP,
            "tcp_user_timeout": str(silence_ms),
            "connect_timeout": str(max(2, round(timeouts.connect_s))),
            "application_name": "callboard",
        }
        return cls(make_conninfo("", **{**defaults, **parts}), schema, _shown(parts, schema))


def _shown(parts: dict[str, str], schema: str) -> str:
    host = parts.get("host") or parts.get("hostaddr") or "local"
    port = f":{parts['port']}" if "port" in parts else ""
    return f"postgres {host}{port}/{parts.get('dbname', '')}, schema {schema}"
