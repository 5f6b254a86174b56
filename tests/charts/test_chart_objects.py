"""What must hold between the objects of a release, whatever the values."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.rendering import (
    MINIMAL,
    VALUES,
    Manifest,
    environment_of,
    needs_helm,
    of_kind,
    pod_of,
    pods,
    rendered,
)
from tests.charts.settings_schema import known_variables

pytestmark = needs_helm

PUBLISHED = ("/graph", "/uploads", "/originals")
SLOW_STOP = ("--set", "api.preStopSeconds=60,api.drainSeconds=300,worker.drainSeconds=600")
CASES = [
    *(pytest.param((values,), id=values.stem) for values in VALUES),
    pytest.param((MINIMAL, *SLOW_STOP), id="slow-stop"),
]
SELECTED_BY = {
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
}


@pytest.fixture(params=CASES)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    values, *arguments = request.param
    return rendered(values, *arguments)


def secrets_of(manifests: list[Manifest]) -> dict[str, dict[str, str]]:
    """Any value for each key that is asked for."""

    class Anything(dict[str, Any]):
        def __missing__(self, key: str) -> Any:
            return key

    return {name: Anything() for name in secret_names(manifests)}


def strings(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from strings(part)


def secret_names(tree: Any) -> set[str]:
    """The names of the Secrets that something below refers to, without those for images."""
    found: set[str] = set()
    if isinstance(tree, dict):
        found |= {tree[key]["name"] for key in ("secretKeyRef",) if key in tree}
        found |= {tree["secretName"]} if "items" in tree and "secretName" in tree else set()
        for part in tree.values():
            found |= secret_names(part)
    elif isinstance(tree, list):
        for part in tree:
            found |= secret_names(part)
    return found


def test_every_pod_is_confined(manifests: list[Manifest]) -> None:
    assert pods(manifests).keys() == {"api", "worker", "migration", "test"}
    for pod in pods(manifests).values():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_every_pod_runs_the_same_pinned_image(manifests: list[Manifest]) -> None:
    images = {pod["spec"]["containers"][0]["image"] for pod in pods(manifests).values()}
    (image,) = images
    assert "@sha256:" in image or image.partition(":")[2] not in {"", "latest"}


def test_every_variable_is_one_the_program_knows(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests).items():
        environment = environment_of(pod, manifests, secrets_of(manifests))
        assert environment.keys() <= known_variables()
        assert ("ASSAY_DATABASE_URL" in environment) == (name != "test")


def test_what_the_program_writes_to_is_writable(manifests: list[Manifest]) -> None:
    for name in ("api", "worker", "migration"):
        pod = pods(manifests)[name]
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        mounts = pod["spec"]["containers"][0]["volumeMounts"]
        written = {m["mountPath"] for m in mounts if "emptyDir" in volumes[m["name"]]}
        environment = environment_of(pod, manifests, secrets_of(manifests))
        assert written == {"/tmp", environment["ASSAY_DATA_DIR"]}  # noqa: S108 - in the pod


def test_every_replica_reads_the_same_signing_key(manifests: list[Manifest]) -> None:
    found = set()
    for name in ("api", "worker"):
        pod = pods(manifests)[name]
        (mount,) = [m for m in pod["spec"]["containers"][0]["volumeMounts"] if m.get("readOnly")]
        (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == mount["name"]]
        (item,) = volume["secret"]["items"]
        environment = environment_of(pod, manifests, secrets_of(manifests))
        assert environment["ASSAY_SIGNING_KEY_FILE"] == f"{mount['mountPath']}/{item['path']}"
        assert volume["secret"]["defaultMode"] == 0o440
        found.add((volume["secret"]["secretName"], item["key"]))
    assert len(found) == 1


def test_probes_ask_the_port_that_the_program_is_given(manifests: list[Manifest]) -> None:
    for name, variable in (("api", "ASSAY_PORT"), ("worker", "ASSAY_WORKER_PORT")):
        pod = pods(manifests)[name]
        (container,) = pod["spec"]["containers"]
        environment = environment_of(pod, manifests, secrets_of(manifests))
        assert container["ports"] == [{"name": "http", "containerPort": int(environment[variable])}]
        asked = {
            probe: container[probe]["httpGet"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert asked == {
            "startupProbe": {"path": "/live", "port": "http"},
            "livenessProbe": {"path": "/live", "port": "http"},
            "readinessProbe": {"path": "/ready", "port": "http"},
        }
        assert environment["ASSAY_HOST"] == "0.0.0.0"  # noqa: S104 - the pod's own addresses


def test_the_grace_period_is_longer_than_an_orderly_end(manifests: list[Manifest]) -> None:
    # ops.edge.server drains, then uvicorn waits for connections: each up to the drain time.
    # persistence.jobs lets jobs end, then gives cancelled ones twice five seconds.
    for name, rounds, unwinding in (("api", 2, 0), ("worker", 1, 10)):
        pod = pods(manifests)[name]
        (container,) = pod["spec"]["containers"]
        drain = float(environment_of(pod, manifests, secrets_of(manifests))["ASSAY_DRAIN_SECONDS"])
        slept = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {"seconds": 0})
        assert (slept["seconds"] > 0) == (name == "api")
        orderly = slept["seconds"] + rounds * drain + unwinding
        assert pod["spec"]["terminationGracePeriodSeconds"] >= orderly + 5


def test_a_rollout_takes_no_pod_away_before_a_new_one_is_ready(manifests: list[Manifest]) -> None:
    scaled = {
        m["spec"]["scaleTargetRef"]["name"] for m in of_kind(manifests, "HorizontalPodAutoscaler")
    }
    for deployment in of_kind(manifests, "Deployment"):
        strategy = deployment["spec"]["strategy"]
        assert strategy == {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        }
        # With both, an upgrade would undo the autoscaler's number.
        assert ("replicas" in deployment["spec"]) != (deployment["metadata"]["name"] in scaled)
        assert pod_of(deployment)["metadata"]["annotations"]["checksum/config"]


def test_selectors_pick_their_own_pods_only(manifests: list[Manifest]) -> None:
    deployments = {m["metadata"]["name"]: m for m in of_kind(manifests, "Deployment")}
    selectors = {
        name: deployment["spec"]["selector"]["matchLabels"]
        for name, deployment in deployments.items()
    }
    chosen = [
        *selectors.items(),
        *((m["metadata"]["name"], m["spec"]["selector"]) for m in of_kind(manifests, "Service")),
    ]
    for kind, field in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        found = of_kind(manifests, kind)
        chosen += [(m["metadata"]["name"], m["spec"][field]["matchLabels"]) for m in found]
    for name, deployment in deployments.items():
        spreads = pod_of(deployment)["spec"]["topologySpreadConstraints"]
        chosen += [(name, spread["labelSelector"]["matchLabels"]) for spread in spreads]
    assert len(chosen) >= 9
    for name, selector in chosen:
        # What changes with a version must not be in it: a Deployment's selector is immutable.
        assert selector.keys() == SELECTED_BY, name
        picked = {
            component
            for component, pod in pods(manifests).items()
            if selector.items() <= pod["metadata"]["labels"].items()
        }
        assert picked == {"worker" if name.endswith("-worker") else "api"}, name
    for autoscaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        assert autoscaler["spec"]["scaleTargetRef"]["name"] in deployments


def test_what_is_published_leads_to_the_api_and_not_to_its_metrics(
    manifests: list[Manifest],
) -> None:
    (service,) = [
        m for m in of_kind(manifests, "Service") if not m["metadata"]["name"].endswith("-worker")
    ]
    (port,) = service["spec"]["ports"]
    for ingress in of_kind(manifests, "Ingress"):
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            backend = path["backend"]["service"]
            assert backend == {
                "name": service["metadata"]["name"],
                "port": {"name": port["name"]},
            }
            assert path["path"].startswith(PUBLISHED)
    for route in of_kind(manifests, "HTTPRoute"):
        (rule,) = route["spec"]["rules"]
        assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": port["port"]}]
        assert rule["timeouts"] == {"request": "0s"}
        assert all(m["path"]["value"].startswith(PUBLISHED) for m in rule["matches"])


def test_the_migration_needs_nothing_that_the_release_makes(manifests: list[Manifest]) -> None:
    (job,) = of_kind(manifests, "Job")
    annotations = job["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    spec = pod_of(job)["spec"]
    made = {m["metadata"]["name"] for m in manifests if m is not job}
    deployment = of_kind(manifests, "Deployment")[0]
    assert secret_names(job) == secret_names(deployment)
    # The Secret is the user's, who may well have called it like the release; so is the program.
    allowed = secret_names(job) | set(spec["containers"][0]["command"])
    assert set(strings(spec)) & made <= allowed
    assert "envFrom" not in spec["containers"][0]
    assert {kind for v in spec["volumes"] for kind in v if kind != "name"} == {"emptyDir"}
    assert spec["restartPolicy"] == "Never"
    assert job["spec"]["backoffLimit"] > 0
    assert job["spec"]["activeDeadlineSeconds"] > 0


def test_the_migration_has_the_settings_of_the_release(manifests: list[Manifest]) -> None:
    found = pods(manifests)
    secrets = secrets_of(manifests)
    served = environment_of(found["api"], manifests, secrets)
    migrated = environment_of(found["migration"], manifests, secrets)
    assert migrated.items() <= served.items()
    only_served = served.keys() - migrated.keys()
    assert only_served <= {
        "ASSAY_STORAGE_ACCESS_KEY",
        "ASSAY_STORAGE_SECRET_KEY",
        "ASSAY_DRAIN_SECONDS",
        "ASSAY_HOST",
        "ASSAY_PORT",
        "ASSAY_REDIS_URL",
        "ASSAY_SIGNING_KEY_FILE",
        "ASSAY_WORKER_PORT",
    }


def production() -> list[Manifest]:
    return rendered(next(path for path in VALUES if path.stem.startswith("production")))


def test_prometheus_finds_the_api_and_the_workers() -> None:
    manifests = production()
    (monitor,) = of_kind(manifests, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    found = [s for s in of_kind(manifests, "Service") if wanted <= s["metadata"]["labels"].items()]
    assert [service["metadata"]["name"] for service in found] == ["assay", "assay-worker"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["path"] == "/metrics"
    for service in found:
        assert [port["name"] for port in service["spec"]["ports"]] == [endpoint["port"]]


def test_helm_test_passes_the_network_policy() -> None:
    manifests = production()
    policy = of_kind(manifests, "NetworkPolicy")[0]
    peers = policy["spec"]["ingress"][0]["from"]
    labels = pods(manifests)["test"]["metadata"]["labels"].items()
    assert any(
        peer.get("podSelector", {}).get("matchLabels", {"": ""}).items() <= labels
        for peer in peers
        if "namespaceSelector" not in peer
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [("25000000", "25000000"), ("12.5", "12.5"), ("30", "30"), ("true", "true")],
)
def test_a_setting_arrives_as_it_was_written(text: str, shown: str, tmp_path: Path) -> None:
    variable = {
        "25000000": "ASSAY_BODY_BYTES",
        "12.5": "ASSAY_OPERATION_SECONDS",
        "30": "ASSAY_LEASE_SECONDS",
        "true": "ASSAY_GRAPHIQL",
    }[text]
    values = tmp_path / "values.yaml"
    values.write_text(
        yaml.safe_dump(
            {
                "existingSecret": "s",
                "originals": {"existingClaim": "c"},
                "settings": {variable: json.loads(text)},
            }
        )
    )
    for helm in ("helm3", "helm4"):
        manifests = rendered(values, helm=helm)
        for name in ("api", "worker", "migration"):
            environment = environment_of(pods(manifests)[name], manifests, secrets_of(manifests))
            assert environment[variable] == shown


def test_a_changed_setting_replaces_the_pods() -> None:
    sums = {
        pod["metadata"]["annotations"]["checksum/config"]
        for arguments in ((), ("--set", "settings.ASSAY_LOG_LEVEL=DEBUG"))
        for name, pod in pods(rendered(MINIMAL, *arguments)).items()
        if name in {"api", "worker"}
    }
    assert len(sums) == 2
