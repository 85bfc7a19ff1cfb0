"""Istio's configuration kinds: decode, validate, merge."""
