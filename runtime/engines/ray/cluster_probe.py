"""Asks the control store of a cluster, before Ray's client connects, which waits and may abort.

Requests go over gRPC as Ray's own do, without a retry, and each has a deadline.
"""

import contextlib
import importlib
import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, Final

import grpc
import psutil
import ray
from ray._private import services
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from callboard.messages.core.errors import ClusterUnreachable, SpecError

from ...doctor.cluster import CLIENT_ADVICE, ClusterSeen, Here, NodeSeen, Token, check_join
from ...doctor.network import Endpoint, cluster_error, connect_error, parse_address
from ...doctor.token import token_file
from .embedded import LOOPBACK

__all__ = ["CONNECT_DEADLINE_S", "check_cluster", "here", "query_head"]

CONNECT_DEADLINE_S: Final = 1.5
"""How long a connection to the address may take: long enough for one lost packet."""
ANSWER_DEADLINE_S: Final = 4.0
"""How long a connected control store may take for its first answer; one that restarts is slow."""
REPLY_BYTES_MAX: Final = 256 * 2**20
"""The list of nodes has a kilobyte or two for each node, also for those that have died."""
NODE_ALIVE: Final = 0
CLIENT_SCHEME: Final = "ray://"
Metadata = Sequence[tuple[str, str]]
rpc: Final[Any] = grpc
messages: Final[Any] = gcs_service_pb2
stubs: Final[Any] = gcs_service_pb2_grpc
node_services: Final[Any] = services
"""Untyped."""


def _resolved(address: str) -> str:
    """The address as `host:port`: `auto` is `RAY_ADDRESS`, or the cluster of this machine.

    Raises `SpecError` for an address of Ray Client, and `ClusterUnreachable` when no cluster runs
    on this machine.
    """
    found = address.strip()
    if found == "auto":
        found = os.environ.get("RAY_ADDRESS", "").strip() or "auto"
    if found.startswith(CLIENT_SCHEME):
        raise SpecError(
            f"{found} is an address of Ray Client.", advice=CLIENT_ADVICE, field="address"
        )
    try:
        return str(node_services.canonicalize_bootstrap_address(found))
    except ConnectionError:
        raise ClusterUnreachable(
            "no Ray cluster runs on this machine, so address='auto' finds none.",
            advice="Start one by `ray start --head --block`, or give the address of its head "
            "(host:port), on a node of that cluster.",
            address=address,
        ) from None
    except (ValueError, OSError):
        return found  # What is wrong with it is said where it is parsed.


def check_cluster(address: str, deadline_s: float) -> ClusterSeen:
    """Raise the reason why a driver in this process cannot join the cluster at this address.

    `deadline_s` bounds each step. Returns what the control store has said. Raises
    `ClusterUnreachable`, another `ClusterError` for another release of Ray or Python, `SpecError`
    for an address of Ray Client, and `UsageError` for a text that is no address.
    """
    seen = query_head(address, deadline_s)
    check_join(seen, here())
    return seen


def query_head(address: str, deadline_s: float) -> ClusterSeen:
    """Ask the control store at an address. Raises `ClusterUnreachable` when there is none.

    Other errors as `check_cluster`, for the text.
    """
    alone = _on_loopback(address, deadline_s)
    if alone is not None:
        return alone
    endpoint = parse_address(_resolved(address))
    connects_s, answers_s = min(CONNECT_DEADLINE_S, deadline_s), min(ANSWER_DEADLINE_S, deadline_s)
    error = connect_error(endpoint, connects_s) or cluster_error(endpoint, answers_s)
    if error is not None:
        same = address.strip() == str(endpoint)
        # Ray replaces a loopback address by one of the machine, which other nodes reach.
        raise _unreachable(endpoint, error, "" if same else f" (which {address} means here)")
    with _channel(endpoint) as channel:
        return _ask(channel, endpoint, answers_s)


def _on_loopback(address: str, deadline_s: float) -> ClusterSeen | None:
    """What a head that only this machine reaches says; None where there is none.

    Ray would replace the address by one of the machine.
    """
    if not address.strip().startswith(f"{LOOPBACK}:"):
        return None
    endpoint = parse_address(address)
    if connect_error(endpoint, min(CONNECT_DEADLINE_S, deadline_s)) is not None:
        return None
    with contextlib.suppress(ClusterUnreachable), _channel(endpoint) as channel:
        seen = _ask(channel, endpoint, min(ANSWER_DEADLINE_S, deadline_s))
        if seen.nodes and all(node.address == LOOPBACK for node in seen.nodes):
            return seen
    return None


def _ask(channel: Any, endpoint: Endpoint, limit_s: float) -> ClusterSeen:
    nodes = stubs.NodeInfoGcsServiceStub(channel).GetAllNodeInfo
    request = messages.GetAllNodeInfoRequest()
    metadata: Metadata = ()
    shown = _token_metadata()
    token = Token(wanted=False, shown=bool(shown))
    reply = _call(nodes, request, endpoint, limit_s, metadata)
    if reply is None:
        metadata = shown
        reply = _call(nodes, request, endpoint, limit_s, metadata) if metadata else None
        token = Token(wanted=True, shown=bool(metadata), taken=reply is not None)
    if reply is None:
        return ClusterSeen(endpoint, token)
    living = tuple(
        NodeSeen(
            node.node_id.hex(),
            node.node_manager_address,
            node.node_manager_hostname,
            getattr(node, "session_dir", ""),
        )
        for node in reply.node_info_list
        if node.state == NODE_ALIVE
    )
    facts = _metadata_of(channel, endpoint, limit_s, metadata)
    return ClusterSeen(
        endpoint,
        token,
        living,
        str(facts.get("ray_version", "")),
        str(facts.get("python_version", "")),
    )


def _token_metadata() -> Metadata:
    """The token of this machine as Ray's client shows it; empty without a token.

    Not by Ray's loader, which keeps what it reads: this process would then refuse calls of a
    cluster that has no token.
    """
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    file = token_file(os.environ, pathlib.Path.home())
    if file is not None:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            token = file.read_text(encoding="utf-8").strip()
    return (("authorization", f"Bearer {token}"),) if token else ()


def _metadata_of(
    channel: Any, endpoint: Endpoint, limit_s: float, metadata: Metadata
) -> dict[str, Any]:
    """What the head has written about itself."""
    request = messages.InternalKVGetRequest(namespace=b"cluster", key=b"CLUSTER_METADATA")
    get = stubs.InternalKVGcsServiceStub(channel).InternalKVGet
    reply = _call(get, request, endpoint, limit_s, metadata)
    try:
        found = json.loads(reply.value)
    except (AttributeError, ValueError):
        return {}  # Nothing is written yet, or in another form: Ray compares the releases itself.
    return found if isinstance(found, dict) else {}


def _call(method: Any, request: Any, endpoint: Endpoint, limit_s: float, metadata: Metadata) -> Any:
    """The reply; None when the token is missing or wrong. Raises `ClusterUnreachable`."""
    try:
        return method(request, timeout=limit_s, metadata=metadata)
    except rpc.RpcError as error:
        match error.code():
            case rpc.StatusCode.UNAUTHENTICATED | rpc.StatusCode.PERMISSION_DENIED:
                return None
            case rpc.StatusCode.UNIMPLEMENTED:
                reason = "a gRPC server answers, but it is not the control store of a Ray head"
            case rpc.StatusCode.DEADLINE_EXCEEDED:
                reason = f"the control store has not answered within {limit_s:g} s"
            case _:
                reason = str(error.details() or error.code())[:300]
        raise _unreachable(endpoint, reason) from None


def _unreachable(endpoint: Endpoint, reason: str, said: str = "") -> ClusterUnreachable:
    return ClusterUnreachable(
        f"no cluster answers at {endpoint}{said}: {reason}.",
        advice="Check that the head runs (`ray status` there), that the port is its --port (6379 "
        "by default; 10001 is Ray Client, 8265 the dashboard), and that no firewall blocks it. "
        "`callboard doctor` checks this machine.",
        address=str(endpoint),
    )


def _channel(endpoint: Endpoint) -> Any:
    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", REPLY_BYTES_MAX),
    ]
    if os.environ.get("RAY_USE_TLS", "0").lower() not in {"1", "true"}:
        return rpc.insecure_channel(str(endpoint), options=options)
    tls: Any = importlib.import_module("ray._common.tls_utils")
    try:
        certificate, key, authority = tls.load_certs_from_env()
    except (RuntimeError, OSError) as error:
        raise ClusterUnreachable(
            f"RAY_USE_TLS is set, but the certificates cannot be read: {error}",
            advice="Set RAY_TLS_SERVER_CERT, RAY_TLS_SERVER_KEY and RAY_TLS_CA_CERT to the files.",
            address=str(endpoint),
        ) from None
    credentials = rpc.ssl_channel_credentials(
        certificate_chain=certificate, private_key=key, root_certificates=authority
    )
    return rpc.secure_channel(str(endpoint), credentials, options=options)


def here() -> Here:
    """This process and its machine."""
    level = os.environ.get("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL", "patch")
    return Here(
        mode=os.environ.get("RAY_AUTH_MODE", "").strip().lower(),
        node_ids=node_services.find_node_ids(),
        addresses=_addresses(),
        ray=ray.__version__,
        python=".".join(map(str, sys.version_info[:3])),
        python_parts=2 if level == "minor" else 3,
    )


def _addresses() -> set[str]:
    return {row.address for rows in psutil.net_if_addrs().values() for row in rows}
