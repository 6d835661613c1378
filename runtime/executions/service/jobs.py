"""Jobs as code: a driver packs them, and the execution service of a detached system loads them."""

import dataclasses
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

from callboard.actors.kernel.actor import contracts_yielded_for
from callboard.actors.kernel.host.host import Host
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, PayloadTooLarge, SpecError
from callboard.messages.jobs.job import Job

from ...hosting.wiring import RefPickler

__all__ = ["load_job", "pack_job"]

CODE_BYTES_MAX: Final = 16 * 2**20
"""The limit of a packed job, which the cluster's head keeps until the execution has ended."""

Loaded = tuple[Job[Any, Any], Contract | None, Mapping[str, Any] | None]


class _JobPickler(RefPickler):
    """Appends the contract classes of the pickled values to the pickle."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file)
        self._contracts: list[type[Contract]] = []

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and issubclass(obj, Contract):
            self._contracts.append(obj)
            # The service takes the partial results of its sub-tasks, too.
            self._contracts.extend(contracts_yielded_for(obj))
        return super().reducer_override(obj)

    def write(self, *values: Any) -> None:
        # The list is complete when the pickler reaches it.
        self.dump((*values, self._contracts))


def _packed(*values: Any) -> bytes:
    file = BytesIO()
    _JobPickler(file).write(*values)
    return file.getvalue()


def pack_job(
    job: Job[Any, Any],
    request: Contract | None = None,
    attributes: Mapping[str, Any] | None = None,
    *,
    contract: type[Contract] | None = None,
) -> bytes:
    """Pack a job with its request and attributes. Raises `SpecError` that names the wrong part.

    `contract` is the contract of a request that the journal has.
    """
    try:
        code = _packed(job, request, attributes, contract)
    except Exception as error:
        part = _culprit(job, request, attributes)
        raise SpecError(
            f"{part} of job {job.name!r} cannot be sent into the detached system: {error!r}.",
            advice="Open files, locks and connections inside the parts of the job: the system runs "
            "it, not the driver. With journal='off' executions stay with their driver.",
            field=part,
        ) from error
    if len(code) > CODE_BYTES_MAX:
        raise PayloadTooLarge(
            f"a request of job {job.name!r} has {len(code)} bytes with its code, the limit is "
            f"{CODE_BYTES_MAX}.",
            advice="Put the large part into a store, and send a reference to it.",
        )
    return code


def _culprit(job: Job[Any, Any], request: Contract | None, attributes: Any) -> str:
    parts = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
    for name, part in {**parts, "request": request, "attributes": attributes}.items():
        try:
            _packed(part)
        except Exception:  # noqa: BLE001 - the wrong part may raise anything
            return f"part {name!r}"
    return "the whole"


def load_job(host: Host, code: bytes) -> Loaded:
    """Load a job, its request and attributes. Raises `SpecError` when that fails.

    The contract classes of the pickle replace earlier ones: a driver that runs the same script
    again has classes of its own.
    """
    try:
        job, request, attributes, _, contracts = host.pickler.loads(code)
        for contract in contracts:
            host.contracts.learn(contract)
    except CallboardError:
        raise
    except Exception as error:
        raise SpecError(
            f"a job cannot be loaded in the detached system: {error!r}.",
            advice="Install its modules on the node that runs the executions. Definitions of the "
            "driver's script itself travel with the job.",
        ) from error
    return job, request, attributes
