"""Statsd in, Prometheus out: the guide's statsd-prom-bridge, with statsd_exporter's mapping file."""
