"""Cluster Secrets to remote clusters: their life, and the one joined view over them."""
