"""``taskserver setup``: Kubernetes manifests from a configuration file: print, write or apply them."""

from __future__ import annotations

import click

from taskserver.cli.kubectl import Kubectl
from taskserver.cli.manifests import write_folder
from taskserver.cli.options import config_file_option, tools_option
from taskserver.cli.screen import note, show_text
from taskserver.deploy import Rendered, as_yaml, load_unresolved, render
from taskserver.deploy.naming import check_namespace
from taskserver.deploy.secrets import secret_commands


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
    if output is not None:
        for line in write_folder(output, rendered.groups, namespace):
            note(line)
    _show_notes(rendered, namespace)
    if apply_ and cluster_name:
        _apply(rendered, Kubectl(cluster_name, namespace))
        return
    if output is None:
        show_text(as_yaml(*rendered.manifests).rstrip("\n"))
    if cluster_name:
        note(f"nothing was applied to {cluster_name}: add --apply to do so")


def _show_notes(rendered: Rendered, namespace: str | None) -> None:
    for text in rendered.notes:
        note(f"note: {text}")
    if needed := secret_commands(rendered.secrets, namespace):
        note("the pods need these Secrets; create them in bash, with the variables set:")
        for command in needed:
            note(f"  {command}")


def _apply(rendered: Rendered, cluster: Kubectl) -> None:
    cluster.apply(rendered.manifests)
    if objects := cluster.left_over(rendered.manifests):
        note("note: these objects are not part of this file; if no other file has them, delete them:")
        note(f"  {cluster.deletion(objects)}")
