"""Sidecar injection: renders pods. Starts nothing."""
