"""The chart as Helm renders it."""

import functools
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "assay"
TOOLS = ROOT / ".tools" / "bin"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
MINIMAL = CHART / "ci" / "minimal-values.yaml"
HELMS = ("helm3", "helm4")

needs_helm = pytest.mark.skipif(
    not (ROOT / ".tools" / "installed").exists(),
    reason="helm is not installed here: run make chart-check",
)

Manifest = dict[str, Any]


def run_tool(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a program of `.tools/bin`, away from the settings of who runs the tests."""
    program, *arguments = command
    environment = {"PATH": os.environ["PATH"], "HOME": str(ROOT / ".tools")}
    return subprocess.run(
        [TOOLS / program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@functools.cache
def rendered_text(values: Path, *arguments: str, helm: str = "helm4") -> str:
    """The manifests of a release `assay` in the namespace `school`. Fails the test on an error."""
    result = run_tool(
        helm, "template", "assay", CHART, "--namespace", "school", "--values", values, *arguments
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def rendered(values: Path, *arguments: str, helm: str = "helm4") -> list[Manifest]:
    """The same as objects, ordered by kind and name."""
    found = list(yaml.safe_load_all(rendered_text(values, *arguments, helm=helm)))
    return sorted((m for m in found if m), key=lambda m: (m["kind"], m["metadata"]["name"]))


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pod_of(manifest: Manifest) -> Manifest:
    """The pod, `{metadata, spec}`, that a Deployment, Job or Pod runs."""
    return manifest if manifest["kind"] == "Pod" else manifest["spec"]["template"]


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Every pod, by the component it is."""
    found = [pod_of(m) for m in manifests if m["kind"] in {"Deployment", "Job", "Pod"}]
    return {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in found}


def environment_of(
    pod: Manifest, manifests: list[Manifest], secrets: dict[str, dict[str, str]]
) -> dict[str, str]:
    """What the pod's only container finds in its environment, as the kubelet would set it."""
    (container,) = pod["spec"]["containers"]
    configured = {m["metadata"]["name"]: m["data"] for m in of_kind(manifests, "ConfigMap")}
    environment: dict[str, str] = {}
    for source in container.get("envFrom", []):
        environment |= configured[source["configMapRef"]["name"]]
    for variable in container.get("env", []):
        if "value" in variable:
            environment[variable["name"]] = variable["value"]
        else:
            reference = variable["valueFrom"]["secretKeyRef"]
            environment[variable["name"]] = secrets[reference["name"]][reference["key"]]
    return environment
