"""A real Prometheus beside the lab's clusters, which scrapes the statsd bridge and every sidecar."""
