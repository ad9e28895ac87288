"""``taskserver setup``: a configuration file as Kubernetes manifests, printed, written to a folder, or applied."""

from __future__ import annotations

import subprocess

import click

from taskserver.cli.manifests import write_folder
from taskserver.cli.options import config_file_option, tools_option
from taskserver.cli.screen import note, show_text
from taskserver.deploy import Rendered, as_yaml, load_kept, render
from taskserver.deploy.naming import check_namespace
from taskserver.deploy.secrets import commands
from taskserver.errors import ConfigError, TaskServerError


@click.command()
@config_file_option(required=True)
@click.option("--cluster-name", metavar="CONTEXT", help="The cluster for --apply: a context of kubectl.")
@click.option("--namespace", "-n", metavar="NAME", help="Where all of it is. [default: the context's namespace]")
@click.option("--apply", "apply_", is_flag=True, help="Hand the manifests to kubectl; it takes --cluster-name.")
@click.option("--output", "-o", metavar="DIR", help="Write a folder for kustomize, and print nothing.")
@click.option("--image", metavar="IMAGE", help="The container image for task servers that name none.")
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
    """Render what a configuration file declares for Kubernetes, and apply it where that is asked for.

    The manifests go to standard output; --output writes them as a folder, --apply hands them to kubectl instead.
    Without --apply no cluster is touched, whether --cluster-name is given or not. What the file takes from
    variables and files for its secrets is not rendered: pods have it from Secrets, and the commands that make those
    are told on standard error.
    """
    if apply_ and not cluster_name:
        raise click.UsageError("say which cluster: --cluster-name CONTEXT (kubectl config get-contexts lists them)")
    if namespace is not None:
        check_namespace(namespace)
    rendered = render(load_kept(config_file), image=image, modules=tuple(filter(None, modules)), namespace=namespace)
    text = as_yaml(*rendered.manifests)
    if output is not None:
        for said in write_folder(output, rendered.groups, namespace):
            note(said)
    _tell(rendered, namespace)
    if apply_ and cluster_name:
        _apply(text, cluster_name, namespace)
        return
    if output is None:
        show_text(text.rstrip("\n"))
    if cluster_name:
        note(f"nothing was applied to {cluster_name}: add --apply for that")


def _tell(rendered: Rendered, namespace: str | None) -> None:
    for said in rendered.notes:
        note(f"note: {said}")
    if made := commands(rendered.needed, namespace):
        note("the pods need these Secrets; in bash, with the variables set:")
        for command in made:
            note(f"  {command}")


def _apply(text: str, context: str, namespace: str | None) -> None:
    """Let kubectl apply it, and show what it says as it says it.

    Raises:
        ConfigError: if there is no kubectl.
        TaskServerError: if it fails.
    """
    command = ["kubectl", f"--context={context}", "apply", "--server-side", "--field-manager=taskserver", "-f", "-"]
    if namespace:
        command.append(f"--namespace={namespace}")
    try:
        done = subprocess.run(command, input=text, encoding="utf-8", stderr=subprocess.PIPE, check=False)  # noqa: S603
    except OSError as error:
        said = "is not installed" if isinstance(error, FileNotFoundError) else f"cannot be run: {error.strerror}"
        raise ConfigError(f"kubectl {said}: install it, or apply what setup prints elsewhere") from None
    if done.stderr.strip():
        note(done.stderr.strip())
    if done.returncode:
        missing = next((kind for kind in _OPERATORS if f'"{kind}"' in done.stderr), None)
        hint = f": the cluster does not know {missing}; {_OPERATORS[missing]}" if missing else ""
        raise TaskServerError(f"kubectl failed with exit code {done.returncode}{hint}")


_OPERATORS = {
    "ServiceMonitor": "install the Prometheus operator, or write service_monitor: false under kubernetes",
    "ScaledObject": "install KEDA, or write scaler: hpa under kubernetes.autoscaling",
}
