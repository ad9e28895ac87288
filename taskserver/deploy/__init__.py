"""Kubernetes: from a configuration file to manifests, without touching a cluster.

``source.py`` loads the file and leaves its secrets references, ``secrets.py`` turns those into references to Secrets,
``configs.py`` writes the file that a pod works by, ``pods.py`` and ``parts.py`` make the objects, ``scaling.py`` the
autoscalers, ``rendering.py`` puts all of it together.
"""

from taskserver.deploy.rendering import Rendered, render
from taskserver.deploy.source import load_kept
from taskserver.deploy.text import as_yaml

__all__ = ["Rendered", "as_yaml", "load_kept", "render"]
