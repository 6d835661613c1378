"""Dead letters: rows that a stage refused, as their source had them, until someone decides."""

import contextlib
import datetime as dt
import decimal
import json
import uuid
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgpack

from callboard.messages.core.contract import Contract
from callboard.messages.storage.errors import StoreDamaged

from .batch import MADE, DataBatch
from .errors import LetterUnreadable

__all__ = ["REASONS_MAX", "DeadRow", "letter_of", "original_of", "row_of"]

FORMAT: Final = 1
REASONS_MAX: Final = 10
REASON_CHARACTERS_MAX: Final = 500
RAW: Final = "bytes"
PACKED: Final = "msgpack"
JSON: Final = "json"


class DeadRow(NamedTuple):
    """A row that a stage refused, or on which it failed."""

    original: bytes
    """The row as the source had it."""
    encoding: str
    """How `original` is to be read: `bytes` for itself, `msgpack`, `json`, or a contract's name."""
    source: str
    """The source, for instance a file."""
    position: int
    """The place of the row in its source; for a row that a stage has made, that of its batch."""
    stage: str
    """The stage that refused it."""
    schema_version: int
    """The version of the pipeline whose stage refused it."""
    reasons: tuple[str, ...]
    """Why it was refused; at most 10."""
    attempt: int
    """1 for a row of the source, and one more for each replay."""
    execution: str
    """The pipeline and the number of its batch; for a batch of an execution, its id."""
    at: float
    """When, in seconds since 1970."""

    def to_data(self) -> dict[str, Any]:
        """The letter for machines; an original that is no text is in hexadecimal digits."""
        try:
            original: Any = self.original.decode() if self.encoding != PACKED else row_of(self)
            json.dumps(original, allow_nan=False)
        except (ValueError, TypeError, LetterUnreadable):
            original = {"hex": self.original.hex()}
        data = self._asdict()
        data["original"] = original
        data["reasons"] = list(self.reasons)
        return data

    def encode(self) -> bytes:
        """The letter for a store."""
        packed: bytes = msgpack.packb((FORMAT, *self))
        return packed

    @classmethod
    def decode(cls, data: bytes) -> "DeadRow":
        """The letter in these bytes. Raises `StoreDamaged`."""
        try:
            form, *fields = msgpack.unpackb(data, use_list=False)
            assert form == FORMAT, f"its format is {form!r}"
            letter = cls(*fields)
            is_right = isinstance(letter.original, bytes) and isinstance(letter.reasons, tuple)
            assert is_right, "its fields have other types"
        except (AssertionError, ValueError, TypeError, msgpack.UnpackException) as error:
            raise StoreDamaged(
                f"a dead letter of {len(data)} bytes does not decode: {error}.",
                advice="Discard it, or restore the store from a backup.",
            ) from error
        return letter


def letter_of(
    batch: DataBatch,
    row: int,
    at_stage: DataBatch,
    reasons: tuple[str, ...],
    **known: Any,
) -> DeadRow:
    """The letter for a row of `at_stage`, what came of `batch` before a stage.

    A row that a stage has made of several is its own original.
    """
    origin = at_stage.origin(row)
    if origin == MADE:
        original, encoding = _kept(at_stage.row(row))
        origin = 0
    elif batch.originals is not None:
        original, encoding = batch.originals[origin], RAW
    else:
        original, encoding = _kept(batch.row(origin))
    cut = tuple(_short(reason) for reason in reasons[:REASONS_MAX])
    return DeadRow(
        original, encoding, _short(batch.source), batch.place_of(origin), reasons=cut, **known
    )


def _kept(row: Any) -> tuple[bytes, str]:
    """A row as the bytes of a letter: times and decimals become text, to be replayed as text."""
    original, encoding = original_of(row)
    if encoding == "text" and isinstance(row, Mapping):
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            return json.dumps(row, default=_text_of).encode(), JSON
    return original, encoding


def _text_of(value: Any) -> str:
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta | decimal.Decimal | uuid.UUID):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no text")


def original_of(row: Any) -> tuple[bytes, str]:
    """A row as bytes, and how they are to be read. A row without an encoding becomes its text."""
    if isinstance(row, bytes):
        return row, RAW
    if isinstance(row, Contract):
        return row.model_dump_json().encode(), type(row).contract_name
    try:
        packed: bytes = msgpack.packb(row)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return repr(row).encode(errors="backslashreplace"), "text"
    return packed, PACKED


def row_of(letter: DeadRow, contracts: Mapping[str, type[Contract]] | None = None) -> Any:
    """The row of a letter. Raises `LetterUnreadable`."""
    encoding = letter.encoding
    try:
        if encoding == RAW:
            return letter.original
        if encoding == PACKED:
            return msgpack.unpackb(letter.original, strict_map_key=False)
        if encoding == JSON:
            return json.loads(letter.original)
        contract = (contracts or {}).get(encoding)
        if contract is not None:
            return contract.model_validate_json(letter.original)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise LetterUnreadable(
            f"the dead letter of {letter.source} at {letter.position} does not decode as "
            f"{encoding}: {error}.",
            advice="Discard it.",
        ) from error
    raise LetterUnreadable(
        f"the dead letter of {letter.source} at {letter.position} is a {encoding}, which this "
        "pipeline cannot read.",
        advice="Give the pipeline the contract, or discard the letter.",
    )


def _short(reason: str) -> str:
    text = reason.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= REASON_CHARACTERS_MAX else text[: REASON_CHARACTERS_MAX - 1] + "…"
