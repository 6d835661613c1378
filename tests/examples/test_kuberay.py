"""`examples/kuberay/raycluster.yaml`, against KubeRay's schema, Ray's own reader and Kubernetes.

KubeRay publishes its schema as a CustomResourceDefinition, which no Python package ships. So
`RAY_CLUSTER` below states the fields that the manifest may use, written from KubeRay's reference of
the API (v1.6), and refuses all others. `CALLBOARD_RAYCLUSTER_CRD` may name the published file.
"""

import copy
import os
import re
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

from callboard.runtime.hosting.settings import Settings

FOLDER: Final = Path(__file__).parents[2] / "examples" / "kuberay"
TEXT: Final = (FOLDER / "raycluster.yaml").read_text(encoding="utf-8")
CONTAINERFILE: Final = (FOLDER / "Containerfile").read_text(encoding="utf-8")
CRD_ENV: Final = "CALLBOARD_RAYCLUSTER_CRD"
Manifest = dict[str, Any]

TEXTS: Final[Manifest] = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT: Final[Manifest] = {"type": "integer", "minimum": 0}
NAME: Final[Manifest] = {"type": "string", "minLength": 1}
FLAG: Final[Manifest] = {"type": "boolean"}
QUANTITY: Final[Manifest] = {
    "type": ["string", "integer"],
    "pattern": r"^[0-9]+(\.[0-9]+)?(m|[KMGTPE]i?)?$",
}


def record(required: str, optional: Manifest | None = None, **fields: Any) -> Manifest:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "required": required.split(),
        "properties": {**fields, **(optional or {})},
        "additionalProperties": False,
    }


def rows(of: Manifest) -> Manifest:
    return {"type": "array", "items": of, "minItems": 1}


RESOURCES: Final = record(
    "requests",
    requests={"type": "object", "additionalProperties": QUANTITY},
    limits={"type": "object", "additionalProperties": QUANTITY},
)
ENVIRONMENT: Final = rows(
    record(
        "name",
        name=NAME,
        value={"type": "string"},
        valueFrom=record("secretKeyRef", secretKeyRef=record("name key", name=NAME, key=NAME)),
    )
)
CLOSED: Final = record(
    "allowPrivilegeEscalation capabilities",
    allowPrivilegeEscalation={"const": False},
    capabilities=record("drop", drop={"const": ["ALL"]}),
)
NO_ROOT: Final = record(
    "runAsNonRoot runAsUser seccompProfile",
    runAsNonRoot={"const": True},
    runAsUser={"type": "integer", "minimum": 1},
    runAsGroup={"type": "integer", "minimum": 1},
    fsGroup={"type": "integer", "minimum": 1},
    seccompProfile=record("type", type={"const": "RuntimeDefault"}),
)
CONTAINER: Final = record(
    "name image env securityContext resources readinessProbe",
    name=NAME,
    image=NAME,
    env=ENVIRONMENT,
    securityContext=CLOSED,
    resources=RESOURCES,
    ports=rows(record("containerPort", name=NAME, containerPort={"type": "integer"})),
    readinessProbe=record(
        "exec",
        exec=record("command", command=rows(NAME)),
        initialDelaySeconds=COUNT,
        periodSeconds=COUNT,
        timeoutSeconds=COUNT,
        failureThreshold=COUNT,
    ),
    volumeMounts=rows(record("name mountPath", name=NAME, mountPath=NAME)),
)
TEMPLATE: Final = record(
    "spec",
    spec=record(
        "containers terminationGracePeriodSeconds securityContext",
        restartPolicy={"enum": ["Always", "Never", "OnFailure"]},
        terminationGracePeriodSeconds=COUNT,
        securityContext=NO_ROOT,
        containers=rows(CONTAINER),
        volumes=rows(
            record(
                "name",
                name=NAME,
                emptyDir=record("", medium=NAME, sizeLimit=QUANTITY),
                persistentVolumeClaim=record("claimName", claimName=NAME),
            )
        ),
    ),
)
RAY_CLUSTER: Final = record(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayCluster"},
    metadata=record("name", name=NAME, namespace=NAME, labels=TEXTS, annotations=TEXTS),
    spec=record(
        "headGroupSpec",
        rayVersion={"type": "string"},
        enableInTreeAutoscaling=FLAG,
        autoscalerOptions=record(
            "",
            version={"enum": ["v1", "v2"]},
            upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
            idleTimeoutSeconds=COUNT,
            env=ENVIRONMENT,
            resources=RESOURCES,
            securityContext=CLOSED,
        ),
        headGroupSpec=record(
            "template",
            serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
            rayStartParams=TEXTS,
            template=TEMPLATE,
        ),
        workerGroupSpecs=rows(
            record(
                "groupName minReplicas maxReplicas template",
                groupName=NAME,
                replicas=COUNT,
                minReplicas=COUNT,
                maxReplicas=COUNT,
                numOfHosts=COUNT,
                idleTimeoutSeconds=COUNT,
                rayStartParams=TEXTS,
                template=TEMPLATE,
            )
        ),
    ),
)


def documents() -> list[Manifest]:
    return list(yaml.safe_load_all(TEXT))


@pytest.fixture
def manifest() -> Manifest:
    # Anchors make one object of several places.
    found = next(each for each in documents() if each["kind"] == "RayCluster")
    return copy.deepcopy(yaml.safe_load(yaml.dump(found)))


def pods(manifest: Manifest) -> list[Manifest]:
    spec = manifest["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def strict(schema: Manifest) -> Manifest:
    """A schema of Kubernetes, which drops unknown fields, as one that refuses them."""
    made = {
        key: strict(value) if isinstance(value, dict) else value for key, value in schema.items()
    }
    open_ended = {"additionalProperties", "x-kubernetes-preserve-unknown-fields"}
    if isinstance(made.get("properties"), dict) and not open_ended & made.keys():
        made["additionalProperties"] = False
    return made


def published(text: str) -> Manifest:
    """The strict schema of version v1 in a CustomResourceDefinition."""
    versions = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]["versions"]
    found = next(each for each in versions if each["name"] == "v1")
    schema: Manifest = found["schema"]["openAPIV3Schema"]
    metadata = schema["properties"].pop("metadata")  # Kubernetes checks it, and not this schema.
    made = strict(schema)
    made["properties"]["metadata"] = metadata
    return made


# --- the schemas --------------------------------------------------------------------------------


def test_it_has_only_fields_of_the_api_and_all_that_are_required(manifest: Manifest) -> None:
    jsonschema.validate(manifest, RAY_CLUSTER)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "headGroupSpecs"), {}),
        (("spec", "autoscalerOptions", "version"), "v3"),
        (("spec", "autoscalerOptions", "idleTimeoutMinutes"), 2),
        (("spec", "workerGroupSpecs", 0, "maxReplicas"), "20"),
        (("spec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "env"), []),
        (("apiVersion",), "ray.io/v1alpha1"),
    ],
)
def test_a_mistake_is_noticed(manifest: Manifest, path: tuple[Any, ...], value: Any) -> None:
    *way, last = path
    place: Any = manifest
    for step in way:
        place = place[step]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, RAY_CLUSTER)


def test_it_keeps_the_published_schema(manifest: Manifest) -> None:
    path = os.environ.get(CRD_ENV)
    if path is None:
        pytest.skip(f"{CRD_ENV} does not name KubeRay's ray.io_rayclusters.yaml")
    jsonschema.validate(manifest, published(Path(path).read_text(encoding="utf-8")))


def test_a_published_schema_refuses_what_kubernetes_would_drop() -> None:
    crd = {
        "spec": {
            "versions": [
                {
                    "name": "v1",
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "metadata": {"type": "object"},
                                "spec": {
                                    "type": "object",
                                    "properties": {
                                        "a": {"type": "string"},
                                        "m": {
                                            "type": "object",
                                            "additionalProperties": {"type": "string"},
                                        },
                                    },
                                },
                            },
                        }
                    },
                }
            ]
        }
    }
    schema = published(yaml.dump(crd))
    jsonschema.validate({"metadata": {"name": "x"}, "spec": {"a": "1", "m": {"b": "2"}}}, schema)
    with pytest.raises(jsonschema.ValidationError, match="'b' was unexpected"):
        jsonschema.validate({"spec": {"b": "1"}}, schema)


def test_what_kubernetes_itself_defines_keeps_its_schemas(manifest: Manifest) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is missing")
    others = [each for each in documents() if each["kind"] != "RayCluster"]
    templates = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
        for spec in pods(manifest)
    ]
    version = validate.latest_version()
    for each in (*others, *templates):
        validate.validate(each, version, strict=True)


# --- the facts ------------------------------------------------------------------------------------


def test_rays_own_autoscaler_reads_no_cpus_on_the_head_and_four_on_a_worker(
    manifest: Manifest,
) -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr,
    )

    config = _derive_autoscaling_config_from_ray_cr(manifest)
    types = config["available_node_types"]
    head = types[config["head_node_type"]]
    hosts = types["hosts"]
    assert head["resources"]["CPU"] == 0
    assert (hosts["resources"]["CPU"], hosts["min_workers"], hosts["max_workers"]) == (4, 1, 20)


def test_every_process_of_ray_has_the_token_and_says_so(manifest: Manifest) -> None:
    options = manifest["spec"]["autoscalerOptions"]
    for place in (options, *(pod["containers"][0] for pod in pods(manifest))):
        env = {each["name"]: each for each in place["env"]}
        assert env["RAY_AUTH_MODE"]["value"] == "token"
        assert env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {
            "name": "callboard-token",
            "key": "auth_token",
        }
    assert not [each for each in documents() if each["kind"] == "Secret"], "no token in a file"
    assert "create secret generic callboard-token" in TEXT


def test_a_pod_that_ends_leaves_its_actors_time_to_stop(manifest: Manifest) -> None:
    for pod in pods(manifest):
        assert pod["terminationGracePeriodSeconds"] > Settings().stop_timeout_s


def test_the_image_has_the_ray_of_the_manifest_and_the_user_of_its_pods(manifest: Manifest) -> None:
    version = manifest["spec"]["rayVersion"]
    images = {pod["containers"][0]["image"] for pod in pods(manifest)}
    assert len(images) == 1
    assert images.pop().endswith(f"ray{version}")
    assert f"ray[default]=={version}" in CONTAINERFILE
    user = pods(manifest)[0]["securityContext"]["runAsUser"]
    assert re.search(rf"^USER {user}:{user}$", CONTAINERFILE, re.MULTILINE)
    assert f"--uid {user}" in CONTAINERFILE


def test_the_network_policy_is_for_the_pods_of_this_cluster(manifest: Manifest) -> None:
    policy = next(each for each in documents() if each["kind"] == "NetworkPolicy")
    label = {"ray.io/cluster": manifest["metadata"]["name"]}
    assert policy["spec"]["podSelector"]["matchLabels"] == label
    within, outside = policy["spec"]["ingress"]
    assert within == {"from": [{"podSelector": {"matchLabels": label}}]}
    assert [each["port"] for each in outside["ports"]] == [8265]


def test_journals_are_on_a_volume_that_outlives_the_head(manifest: Manifest) -> None:
    head = pods(manifest)[0]
    volumes = {each["name"]: each for each in head["volumes"]}
    mounts = {each["mountPath"]: each["name"] for each in head["containers"][0]["volumeMounts"]}
    claim = volumes[mounts["/data/callboard"]]["persistentVolumeClaim"]["claimName"]
    claims = [each["metadata"]["name"] for each in documents() if "Claim" in each["kind"]]
    assert claims == [claim]
