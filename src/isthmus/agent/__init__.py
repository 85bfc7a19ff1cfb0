"""In the pod: bootstrap and the life of Envoy."""
