"""Isthmus: a service-mesh control plane for Envoy that joins Kubernetes clusters into one mesh."""

__version__ = "0.1.0"
"""As in pyproject.toml. To ask what is installed would cost the agent of every pod two megabytes."""
