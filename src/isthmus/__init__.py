"""Isthmus: a service-mesh control plane for Envoy that joins Kubernetes clusters into one mesh."""
