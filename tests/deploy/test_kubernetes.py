"""Every manifest against its schema, strictly, and what they promise each other.

Kubernetes' own schemas come with `kubernetes-validate`. Overlays are merged here as kustomize would.
"""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from serving.stock import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
RELEASES = ("1.33", "1.37")  # native sidecars and preStop sleep are on by default from 1.33 on
KSERVE = json.loads((Path(__file__).parent / "kserve.schema.json").read_text())
KUSTOMIZATION = {  # kustomize.config.k8s.io/v1beta1, as far as it is used
    "apiVersion",
    "kind",
    "labels",
    "resources",
    "patches",
    "images",
}


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def kustomization(folder: str) -> dict[str, Any]:
    document = load(KUBERNETES / folder / "kustomization.yaml")
    assert set(document) <= KUSTOMIZATION
    assert (document["apiVersion"], document["kind"]) == (
        "kustomize.config.k8s.io/v1beta1",
        "Kustomization",
    )
    return document


def merged(base: Any, patch: Any) -> Any:
    """Merge as kustomize does: objects by key, lists of named things by name, null deletes."""
    if isinstance(base, dict) and isinstance(patch, dict):
        result = {**base}
        for key, value in patch.items():
            result[key] = merged(result.get(key), value)
        return {key: value for key, value in result.items() if value is not None}
    named = [
        isinstance(x, list) and all(isinstance(e, dict) and "name" in e for e in x)
        for x in (base, patch)
    ]
    if all(named):
        found = {entry["name"]: entry for entry in base}
        for entry in patch:
            found[entry["name"]] = merged(found.get(entry["name"], {}), entry)
        return list(found.values())
    return copy.deepcopy(patch)


def _of_names(x: Any) -> bool:
    return isinstance(x, list) and all(isinstance(entry, dict) and "name" in entry for entry in x)


def base() -> dict[str, dict[str, Any]]:
    documents = [load(KUBERNETES / "base" / name) for name in kustomization("base")["resources"]]
    return {document["kind"]: document for document in documents}


def with_s3() -> dict[str, dict[str, Any]]:
    found = base()
    for entry in kustomization("s3")["patches"]:
        patch = load(KUBERNETES / "s3" / entry["path"])
        if patch.pop("$patch", None) == "delete":
            del found[patch["kind"]]
        else:
            found[patch["kind"]] = merged(found[patch["kind"]], patch)
    return found


def kserve() -> dict[str, dict[str, Any]]:
    documents = [load(KUBERNETES / "kserve" / name) for name in kustomization("kserve")["resources"]]
    return {document["kind"]: document for document in documents}


def pod_of(runtime: dict[str, Any]) -> dict[str, Any]:
    """A pod of a ServingRuntime, for Kubernetes' schemas."""
    spec = {key: runtime["spec"][key] for key in ("containers", "volumes")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": runtime["metadata"], "spec": spec}


def validate(document: dict[str, Any], release: str) -> None:
    if document["apiVersion"].startswith("serving.kserve.io/"):
        jsonschema.Draft202012Validator(KSERVE).validate(document)
        if document["kind"] == "ServingRuntime":
            validate(pod_of(document), release)
    else:
        assert kubernetes_validate.validate(document, release, strict=True) == release


ALL = {
    f"{name} {kind}": document
    for name, build in {"base": base, "s3": with_s3, "kserve": kserve}.items()
    for kind, document in build().items()
}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", ALL)
def test_manifest(name: str, release: str) -> None:
    validate(ALL[name], release)


def test_every_file_is_part_of_something() -> None:
    for folder in KUBERNETES.iterdir():
        document = kustomization(folder.name)
        named = [p["path"] for p in document.get("patches", [])]
        named += [r for r in document["resources"] if not r.startswith("..")]
        files = {path.name for path in folder.iterdir()} - {"kustomization.yaml"}
        assert files == set(named)


def set_(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Make a change: `spec.containers.0.imag`."""

    def change(document: dict[str, Any]) -> None:
        at: Any = document
        *parents, last = path.split(".")
        for step in parents:
            at = at[int(step)] if step.isdigit() else at[step]
        at[last] = value

    return change


@pytest.mark.parametrize(
    ("name", "path", "value", "says"),
    [
        ("base Deployment", "spec.template.spec.containers.0.imagee", "x", "imagee"),
        ("base Deployment", "spec.replica", 2, "replica"),
        (
            "base Deployment",
            "spec.template.spec.containers.0.livenessProbe.periodSeconds",
            "20",
            "is not",
        ),
        ("base Service", "spec.ports.0.targetport", 80, "targetport"),
        ("base HorizontalPodAutoscaler", "spec.minReplica", 1, "minReplica"),
        ("base PodDisruptionBudget", "spec.maxUnavailble", 1, "maxUnavailble"),
        ("base NetworkPolicy", "spec.ingres", [], "ingres"),
        ("base PersistentVolumeClaim", "spec.accessMode", [], "accessMode"),
        ("s3 Deployment", "spec.template.spec.initContainers.1.comand", [], "comand"),
        ("kserve ServingRuntime", "spec.supportedModelFormat", [], "not valid under any"),
        ("kserve ServingRuntime", "spec.containers.0.volumeMount", [], "volumeMount"),
        ("kserve InferenceService", "spec.predictor.minReplica", 1, "not valid under any"),
        ("kserve InferenceService", "spec.predictor.model.storageURI", "s3://x", "not valid under any"),
    ],
)
def test_a_field_that_is_unknown_or_wrong_is_refused(
    name: str, path: str, value: object, says: str
) -> None:
    document = copy.deepcopy(ALL[name])
    set_(path, value)(document)
    with pytest.raises(jsonschema.ValidationError, match=says):
        validate(document, RELEASES[-1])


def pod(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("name", ["base Deployment", "s3 Deployment", "kserve ServingRuntime"])
def test_what_is_mounted_exists_and_nobody_is_root(name: str) -> None:
    document = ALL[name]
    runtime = name.startswith("kserve")
    spec = document["spec"] if runtime else pod(document)
    volumes = {volume["name"] for volume in spec["volumes"]}
    containers = spec["containers"] + spec.get("initContainers", [])
    for container in containers:
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        limits = container["securityContext"] if runtime else spec["securityContext"]
        assert limits["runAsNonRoot"]
        assert set(container["resources"]) == {"requests", "limits"}
    assert {mount["name"] for c in containers for mount in c["volumeMounts"]} == volumes


def test_names_and_ports_meet(inside: Callable[..., object], tmp_path: Path) -> None:
    found = base()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", found["Deployment"]["metadata"]["name"])
    server = pod(found["Deployment"])["containers"][0]["name"]
    (metric,) = found["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["containerResource"]["container"] == server
    gate = pod(found["Deployment"])["initContainers"][0]
    ports = {port["name"]: port["containerPort"] for port in gate["ports"]}
    assert {port["targetPort"] for port in found["Service"]["spec"]["ports"]} == set(ports)
    runtime = kserve()["ServingRuntime"]["spec"]
    assert gate["command"] == next(c for c in runtime["containers"] if c["name"] == "gate")["command"]
    inside("gate", "init", tmp_path / "gate", "--container", "--plain")
    conf = (tmp_path / "gate" / "nginx.conf").read_text()
    assert all(re.search(rf"listen (0\.0\.0\.0:)?{port};", conf) for port in ports.values())
    (mount,) = (m for m in gate["volumeMounts"] if m["name"] == "gate")
    assert f"{mount['mountPath']}/nginx.conf" in gate["command"]
    for volumes in (pod(found["Deployment"])["volumes"], runtime["volumes"]):
        (secret,) = (volume["secret"]["secretName"] for volume in volumes if volume["name"] == "gate")
        for example in ("base", "kserve"):
            text = (KUBERNETES / example / "kustomization.yaml").read_text()
            assert f"create secret generic {secret} --from-file=runs/gate" in text


def test_a_pod_has_time_to_drain() -> None:
    """Leaving the endpoints, the drain (30 s) and the end of Java (30 s) fit into the grace period."""
    spec = pod(base()["Deployment"])
    (server,) = spec["containers"]
    sleep = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= sleep + 30 + 30
    assert spec["initContainers"][0]["restartPolicy"] == "Always"  # the gate ends after the server
    predictor = kserve()["InferenceService"]["spec"]["predictor"]
    gate = kserve()["ServingRuntime"]["spec"]["containers"][1]
    assert predictor["terminationGracePeriodSeconds"] >= sleep + 30 + 30
    assert sleep + 30 < gate["lifecycle"]["preStop"]["sleep"]["seconds"] < 90


def test_probes_are_commands_that_exist(inside: Callable[..., object]) -> None:
    server = pod(base()["Deployment"])["containers"][0]
    text = str(getattr(inside("status", "--help"), "stdout", ""))
    for probe, option in (
        ("startupProbe", "--ready"),
        ("readinessProbe", "--ready"),
        ("livenessProbe", "--live"),
    ):
        command = server[probe]["exec"]["command"]
        assert command[:3] == ["flyobj", "status", option]
        assert option in text
        assert command[3:] == ["--home", "/var/lib/flyobj/server"]
    serve = str(getattr(inside("serve", "--help"), "stdout", ""))
    assert all(word in serve for word in server["args"])
