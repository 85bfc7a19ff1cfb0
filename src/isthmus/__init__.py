"""Isthmus: a service-mesh control plane for Envoy that joins Kubernetes clusters into one mesh."""

from importlib.metadata import version

__version__ = version("isthmus")
