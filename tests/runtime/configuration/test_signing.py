"""Signatures: a threshold of known keys, over the digest, with a counter that only grows."""

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from callboard.configuration import (
    ConfigurationPackage,
    ConfigurationValidationError,
    load_configuration,
)
from callboard.messages.core.errors import UsageError
from callboard.runtime.configuration.signing import (
    PublicKey,
    make_key,
    read_public_key,
    sign_package,
    verify_package,
)

from .mutations import mutated


def package(folder: Path, text: str = "Read.") -> ConfigurationPackage:
    folder.mkdir(exist_ok=True)
    (folder / "CLAUDE.md").write_text(text)
    return load_configuration(folder, version="1.0.0")[0]


def keys(folder: Path, names: str) -> list[PublicKey]:
    for name in names:
        make_key(folder / name)
    return [read_public_key(folder / f"{name}.pub") for name in names]


def test_a_threshold_of_different_keys_must_sign(tmp_path: Path) -> None:
    known = keys(tmp_path, "ab")
    keys(tmp_path, "x")
    signed = package(tmp_path / "p")
    one = sign_package(signed, tmp_path / "a", counter=3)
    assert verify_package(signed, one, known).key_ids == (known[0].key_id,)
    twice = sign_package(signed, tmp_path / "a", counter=3, envelope=one)
    stranger = sign_package(signed, tmp_path / "x", counter=3, envelope=twice)
    with pytest.raises(ConfigurationValidationError):
        verify_package(signed, stranger, known, threshold=2)
    both = sign_package(signed, tmp_path / "b", counter=3, envelope=stranger)
    found = verify_package(signed, both, known, threshold=2, least_counter=3)
    assert (found.package_id, found.version, found.counter) == (signed.package_id, "1.0.0", 3)
    assert len(found.key_ids) == 2


def test_other_content_an_old_counter_and_a_repeated_signature_are_refused(tmp_path: Path) -> None:
    known = keys(tmp_path, "ab")
    signed = package(tmp_path / "p")
    envelope = sign_package(signed, tmp_path / "a", counter=3)
    with pytest.raises(ConfigurationValidationError, match="another package"):
        verify_package(package(tmp_path / "q", "Other."), envelope, known)
    with pytest.raises(ConfigurationValidationError, match="counter"):
        verify_package(signed, envelope, known, least_counter=4)
    read = json.loads(envelope)
    read["signatures"] *= 5
    with pytest.raises(ConfigurationValidationError):
        verify_package(signed, json.dumps(read).encode(), known, threshold=2)
    with pytest.raises(UsageError):
        sign_package(signed, tmp_path / "b", counter=4, envelope=envelope)


def test_no_mutated_envelope_says_anything_else(tmp_path: Path) -> None:
    known = keys(tmp_path, "a")
    signed = package(tmp_path / "p")
    envelope = sign_package(signed, tmp_path / "a", counter=3)
    choose = random.Random("envelopes")
    good = verify_package(signed, envelope, known)
    for _ in range(500):
        try:
            found = verify_package(signed, mutated(envelope, choose), known)
        except ConfigurationValidationError:
            continue
        assert found == good


def test_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    make_key(tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError):
        make_key(tmp_path / "a")
    (tmp_path / "short").write_text("00ff\n")
    with pytest.raises(UsageError):
        read_public_key(tmp_path / "short")
