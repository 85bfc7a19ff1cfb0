"""Kubernetes client, list-and-watch, kubeconfig. Knows the API, not the mesh."""
