"""Kubernetes manifests from a configuration file, without touching a cluster.

Read in this order:

- ``loading.py`` loads the file and leaves references to secrets unresolved.
- ``effective.py`` adds the settings that the file leaves to the environment.
- ``rendering.py`` makes the manifests, and collects everything that would not work in a cluster.
- ``unit.py`` is what becomes one Deployment, and ``units.py`` the two kinds: workers and metrics. ``pod_config.py``
  writes the configuration file of their pods.
- ``pods.py`` makes the Deployment, ``objects.py`` what surrounds it, and ``scaling.py`` the autoscaler.
- ``brokers.py`` finds out how pods reach a broker, ``secrets.py`` turns references into Secrets.
- ``naming.py``, ``quantities.py`` and ``text.py`` know the names, amounts and YAML of Kubernetes.
"""

from taskserver.deploy.loading import load_unresolved
from taskserver.deploy.rendering import Rendered, render
from taskserver.deploy.text import as_yaml

__all__ = ["Rendered", "as_yaml", "load_unresolved", "render"]
