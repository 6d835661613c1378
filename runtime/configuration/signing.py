"""Signatures of packages: Ed25519 over the digest, in an envelope as DSSE defines it.

What is signed is the name of a package, which is the digest of its content, with its version and
a counter. The counter only grows: an older package with a good signature is refused.
"""

import base64
import binascii
import hashlib
import importlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from callboard.actors.configuration.package import (
    ConfigurationPackage,
    ConfigurationValidationError,
)
from callboard.messages.core.errors import UsageError

__all__ = ["PublicKey", "Signed", "make_key", "read_public_key", "sign_package", "verify_package"]

PAYLOAD_TYPE: Final = "application/vnd.callboard.configuration+json"
ENVELOPE_BYTES_MAX: Final = 100_000
SIGNATURES_MAX: Final = 100
KEY_BYTES: Final = 32


class PublicKey(NamedTuple):
    """A key that may sign."""

    key_id: str
    """The first 32 digits of the SHA-256 of the key."""
    key: bytes


class Signed(NamedTuple):
    """What good signatures say."""

    package_id: str
    version: str
    counter: int
    key_ids: tuple[str, ...]


def make_key(path: Path) -> PublicKey:
    """Write a new private key to a file that only its owner reads, and `PATH.pub` next to it.

    Raises `UsageError` when there is such a file.
    """
    library = _library()
    private = library.Ed25519PrivateKey.generate()
    public = _public(private.public_key().public_bytes_raw())
    for file, text, mode in (
        (path, private.private_bytes_raw().hex(), 0o600),
        (Path(f"{path}.pub"), public.key.hex(), 0o644),
    ):
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except OSError as error:
            raise UsageError(
                f"{file} cannot be made: {error}.", advice="Choose another path."
            ) from None
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text + "\n")
    return public


def read_public_key(path: Path) -> PublicKey:
    """The public key in a file. Raises `UsageError`."""
    return _public(_key_bytes(path))


def sign_package(
    package: ConfigurationPackage, key: Path, *, counter: int, envelope: bytes | None = None
) -> bytes:
    """The envelope with a signature by the key in a file; a given one is signed in addition.

    Raises `UsageError` when the envelope is of another package, version or counter.
    """
    private = _library().Ed25519PrivateKey.from_private_bytes(_key_bytes(key))
    said = {"counter": counter, "package": package.package_id, "version": package.version}
    payload = json.dumps(said, sort_keys=True).encode()
    held: list[Mapping[str, Any]] = []
    if envelope is not None:
        before, held = _opened(envelope)
        if before != payload:
            raise UsageError(
                "the envelope is of another package, version or counter.",
                advice="Sign without it, or with the same counter.",
            )
    key_id = _public(private.public_key().public_bytes_raw()).key_id
    signature = {"keyid": key_id, "sig": _text(private.sign(_signed_bytes(payload)))}
    signatures = [one for one in held if one.get("keyid") != key_id] + [signature]
    return json.dumps(
        {"payload": _text(payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures}, indent=1
    ).encode()


def verify_package(
    package: ConfigurationPackage,
    envelope: bytes,
    keys: Iterable[PublicKey],
    *,
    threshold: int = 1,
    least_counter: int = 0,
) -> Signed:
    """What the signatures say, when `threshold` different keys have signed this package.

    Raises `ConfigurationValidationError` otherwise, also for a counter below `least_counter`.
    """
    library = _library()
    known = {one.key_id: one for one in keys}
    payload, signatures = _opened(envelope)
    good = sorted(
        {
            str(one["keyid"])
            for one in signatures
            if one.get("keyid") in known
            and _is_good(library, known[str(one["keyid"])], one.get("sig"), payload)
        }
    )
    if len(good) < max(threshold, 1):
        raise _refused(f"{len(good)} of the {max(threshold, 1)} keys that it needs have signed it")
    try:
        said = json.loads(payload)
        signed = Signed(said["package"], said["version"], int(said["counter"]), tuple(good))
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _refused("what is signed is no name of a package") from None
    if signed.package_id != package.package_id:
        raise _refused("the signature is of another package")
    if signed.counter < least_counter:
        raise _refused(f"its counter {signed.counter} is below {least_counter}: it is an old one")
    return signed


def _refused(why: str) -> ConfigurationValidationError:
    return ConfigurationValidationError(
        f"the signature is refused: {why}.", advice="Get the package signed, and try again."
    )


def _opened(envelope: bytes) -> tuple[bytes, list[Mapping[str, Any]]]:
    try:
        if len(envelope) > ENVELOPE_BYTES_MAX:
            raise _refused("the envelope is too large")
        read = json.loads(envelope)
        if read["payloadType"] != PAYLOAD_TYPE:
            raise _refused("the envelope is of another type")
        payload = base64.b64decode(read["payload"], validate=True)
        signatures: list[Mapping[str, Any]] = [
            one for one in read["signatures"] if isinstance(one, dict)
        ]
    except (ValueError, LookupError, TypeError, RecursionError, binascii.Error):
        raise _refused("the envelope cannot be read") from None
    return payload, signatures[:SIGNATURES_MAX]


def _is_good(library: Any, key: PublicKey, signature: object, payload: bytes) -> bool:
    try:
        raw = base64.b64decode(str(signature), validate=True)
        library.Ed25519PublicKey.from_public_bytes(key.key).verify(raw, _signed_bytes(payload))
    except Exception:  # noqa: BLE001 - whatever is wrong with a signature, it is no good one
        return False
    return True


def _signed_bytes(payload: bytes) -> bytes:
    """The pre-authentication encoding of DSSE: no other pair of type and payload has the same."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _public(raw: bytes) -> PublicKey:
    return PublicKey(hashlib.sha256(raw).hexdigest()[:32], raw)


def _key_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            raw = bytes.fromhex(stream.read(1_000).decode("ascii").strip())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} has no key: {error!s:.200}.", advice="Check the path.") from None
    if len(raw) != KEY_BYTES:
        raise UsageError(f"{path} has no key of {KEY_BYTES} bytes.", advice="Check the path.")
    return raw


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _library() -> Any:
    try:
        return importlib.import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError:
        raise UsageError(
            "cryptography is not installed.", advice="Install callboard[configuration]."
        ) from None
