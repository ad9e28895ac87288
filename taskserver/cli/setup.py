"""``taskserver setup``: Kubernetes manifests from a configuration file: print, write or apply them."""

from __future__ import annotations

import subprocess

import click

from taskserver.cli.manifests import write_folder
from taskserver.cli.options import config_file_option, tools_option
from taskserver.cli.screen import note, show_text
from taskserver.deploy import Rendered, as_yaml, load_unresolved, render
from taskserver.deploy.naming import check_namespace
from taskserver.deploy.secrets import secret_commands
from taskserver.errors import ConfigError, TaskServerError


@click.command()
@config_file_option(required=True)
@click.option("--cluster-name", metavar="CONTEXT", help="kubectl context of the cluster for --apply.")
@click.option("--namespace", "-n", metavar="NAME", help="Namespace of all objects. [default: that of the context]")
@click.option("--apply", "apply_", is_flag=True, help="Apply the manifests with kubectl. Requires --cluster-name.")
@click.option("--output", "-o", metavar="DIR", help="Write a folder for kustomize instead of printing.")
@click.option("--image", metavar="IMAGE", help="Container image for task servers that name none.")
@tools_option
def setup(
    config_file: str,
    cluster_name: str | None,
    namespace: str | None,
    apply_: bool,
    output: str | None,
    image: str | None,
    modules: tuple[str, ...],
) -> None:
    """Render a configuration file as Kubernetes manifests.

    The manifests are printed. --output writes them to a folder instead, and --apply applies them with kubectl. Without
    --apply no cluster is touched, even with --cluster-name. Secrets that the file takes from variables and files are
    not rendered: pods read them from Secrets, and stderr shows the commands that create those.
    """
    if apply_ and not cluster_name:
        raise click.UsageError("--apply requires --cluster-name (kubectl config get-contexts lists the names)")
    if namespace is not None:
        check_namespace(namespace)
    rendered = render(
        load_unresolved(config_file), image=image, modules=tuple(filter(None, modules)), namespace=namespace
    )
    text = as_yaml(*rendered.manifests)
    if output is not None:
        for line in write_folder(output, rendered.groups, namespace):
            note(line)
    _show_notes(rendered, namespace)
    if apply_ and cluster_name:
        _apply(text, cluster_name, namespace)
        return
    if output is None:
        show_text(text.rstrip("\n"))
    if cluster_name:
        note(f"nothing was applied to {cluster_name}: add --apply to do so")


def _show_notes(rendered: Rendered, namespace: str | None) -> None:
    for text in rendered.notes:
        note(f"note: {text}")
    if needed := secret_commands(rendered.secrets, namespace):
        note("the pods need these Secrets; create them in bash, with the variables set:")
        for command in needed:
            note(f"  {command}")


def _apply(text: str, context: str, namespace: str | None) -> None:
    """Apply the manifests with kubectl, and show its output.

    Raises:
        ConfigError: if kubectl cannot be run.
        TaskServerError: if it fails.
    """
    command = ["kubectl", f"--context={context}", "apply", "--server-side", "--field-manager=taskserver", "-f", "-"]
    if namespace:
        command.append(f"--namespace={namespace}")
    try:
        done = subprocess.run(command, input=text, encoding="utf-8", stderr=subprocess.PIPE, check=False)  # noqa: S603
    except OSError as error:
        problem = "is not installed" if isinstance(error, FileNotFoundError) else f"cannot be run: {error.strerror}"
        raise ConfigError(f"kubectl {problem}: install it, or apply the printed manifests on another machine") from None
    if done.stderr.strip():
        note(done.stderr.strip())
    if done.returncode:
        missing = next((kind for kind in _OPERATORS if f'"{kind}"' in done.stderr), None)
        hint = f": the cluster has no {missing}; {_OPERATORS[missing]}" if missing else ""
        raise TaskServerError(f"kubectl failed with exit code {done.returncode}{hint}")


_OPERATORS = {
    "ServiceMonitor": "install the Prometheus operator, or write service_monitor: false under kubernetes",
    "ScaledObject": "install KEDA, or write scaler: hpa under kubernetes.autoscaling",
}
