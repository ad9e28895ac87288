"""What ``taskserver setup --apply`` does with kubectl: apply manifests, and find what earlier ones have left behind."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any

from taskserver.cli.screen import note
from taskserver.deploy import as_yaml
from taskserver.errors import ConfigError, TaskServerError

_OPERATORS = {
    "ServiceMonitor": "install the Prometheus operator, or write service_monitor: false under kubernetes",
    "ScaledObject": "install KEDA, or write scaler: hpa under kubernetes.autoscaling",
}
_KINDS = (
    "deployments,services,configmaps,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers",
    "servicemonitors.monitoring.coreos.com",
    "scaledobjects.keda.sh",
)
"""All kinds that ``setup`` renders. A cluster may lack those of operators, so these are asked for one by one."""


class Kubectl:
    """A cluster, through kubectl.

    Args:
        context: The context of kubectl.
        namespace: Namespace of all objects; None for that of the context.
    """

    def __init__(self, context: str, namespace: str | None) -> None:
        self._options = [f"--context={context}", *([f"--namespace={namespace}"] if namespace else [])]

    def apply(self, manifests: Sequence[dict[str, Any]]) -> None:
        """Apply the manifests, and show the output of kubectl.

        Raises:
            ConfigError: if kubectl cannot be run.
            TaskServerError: if it fails.
        """
        command = ["apply", "--server-side", "--field-manager=taskserver", "-f", "-"]
        done = self._run(command, input=as_yaml(*manifests), stdout=None)
        if done.stderr.strip():
            note(done.stderr.strip())
        if done.returncode:
            missing = next((kind for kind in _OPERATORS if f'"{kind}"' in done.stderr), None)
            hint = f": the cluster has no {missing}; {_OPERATORS[missing]}" if missing else ""
            raise TaskServerError(f"kubectl failed with exit code {done.returncode}{hint}")

    def left_over(self, manifests: Sequence[dict[str, Any]]) -> list[str]:
        """Objects of earlier renderings that the manifests no longer contain, as kubectl names them.

        A ConfigMap of a Deployment that is still there is none of them: ``kubectl rollout undo`` may need it.
        """
        rendered = {(each["kind"], each["metadata"]["name"]) for each in manifests}
        instances = {_instance(each) for each in manifests}
        return [
            f"{each['kind'].lower()}/{each['metadata']['name']}"
            for each in self._managed()
            if (each["kind"], each["metadata"]["name"]) not in rendered
            and not (each["kind"] == "ConfigMap" and _instance(each) in instances)
        ]

    def deletion(self, objects: Iterable[str]) -> str:
        """The command that deletes objects."""
        return shlex.join(["kubectl", *self._options, "delete", *objects])

    def _managed(self) -> Iterable[dict[str, Any]]:
        for kinds in _KINDS:
            done = self._run(["get", kinds, "--selector=app.kubernetes.io/managed-by=taskserver", "--output=json"])
            if done.returncode == 0:  # applying has worked, so this is an operator or a right that is missing
                yield from json.loads(done.stdout)["items"]

    def _run(self, arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", *self._options, *arguments]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        try:
            return subprocess.run(command, encoding="utf-8", check=False, **pipes)  # noqa: S603
        except OSError as error:
            problem = "is not installed" if isinstance(error, FileNotFoundError) else f"cannot be run: {error.strerror}"
            raise ConfigError(
                f"kubectl {problem}: install it, or apply the printed manifests on another machine"
            ) from None


def _instance(manifest: dict[str, Any]) -> str:
    name: str = manifest["metadata"]["labels"].get("app.kubernetes.io/instance", "")
    return name
