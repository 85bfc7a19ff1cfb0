"""Whole clusters on this machine, with real Envoy: what operators see."""
