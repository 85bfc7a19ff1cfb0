"""Benchmarks that drive a control plane from outside: Kubernetes' API on one side, xDS streams on the
other.
"""
