"""Values of a job's own types, between the process that runs the job and its driver.

The result of a job may be any object, so it is pickled like the arguments of a constructor. A
contract in it is encoded like a message, and decoded into the reader's own class, so that a
restarted driver gets instances of its own classes.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractRegistry, describe_contract
from callboard.messages.core.ref import Address, Ref

from ..hosting.wiring import RefPickler, RefUnpickler

__all__ = ["Values"]

CONTRACT: Final = "contract"


class _Pickler(RefPickler):
    def __init__(self, file: BytesIO, codec: Codec) -> None:
        super().__init__(file)
        self._codec = codec

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Contract):
            body, buffers = self._codec.encode(value)
            key = describe_contract(type(value)).key
            return (CONTRACT, *key, body, tuple(bytes(buffer) for buffer in buffers))
        return super().persistent_id(value)


class _Unpickler(RefUnpickler):
    def __init__(
        self,
        file: BytesIO,
        bind: Callable[[Address], Ref[Any]],
        codec: Codec,
        contracts: ContractRegistry,
    ) -> None:
        super().__init__(file, bind)
        self._codec = codec
        self._contracts = contracts

    def persistent_load(self, found: Any) -> Any:
        if found[0] != CONTRACT:
            return super().persistent_load(found)
        _, name, version, fingerprint, body, buffers = found
        build = self._contracts.resolve(name, version, fingerprint)
        return self._codec.decode(body, build, buffers)


class Values:
    """Packs and unpacks values on one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._codec = host.codec.copy()

    def pack(self, value: Any) -> bytes:
        """Pickle a value. Raises the errors of pickling, and `ContractError`."""
        file = BytesIO()
        _Pickler(file, self._codec).dump(value)
        return file.getvalue()

    def unpack(self, data: bytes) -> Any:
        """Unpickle a value. Raises `ContractError` for a contract that is unknown here."""
        host = self._host
        return _Unpickler(BytesIO(data), host.ref, self._codec, host.contracts).load()
