"""What the agent tells Prometheus of itself, as text: a library for it would cost every pod megabytes."""

from collections.abc import Iterable, Iterator

from isthmus.agent.identity import Identity
from isthmus.agent.sds import Secrets
from isthmus.agent.statsd_relay import DROPPED, Relay

Metric = tuple[str, str, str, Iterable[tuple[str, float]]]
"""Name, type, help, and each sample: its labels as text, "" for none, and its value."""


def render_metrics(identity: Identity, secrets: Secrets, relay: Relay | None) -> str:
    """Prometheus' text format, version 0.0.4."""
    return "".join(_lines([*_identity(identity, secrets), *(_statsd(relay) if relay else ())]))


def _identity(identity: Identity, secrets: Secrets) -> Iterator[Metric]:
    tally, certificate = identity.tally, identity.certificate
    yield (
        "isthmus_agent_certificates_issued_total",
        "counter",
        "Certificates that the CA issued to this pod.",
        [("", tally.issued)],
    )
    yield (
        "isthmus_agent_certificate_failures_total",
        "counter",
        "Requests for a certificate that failed; the one before stays in use.",
        [("", tally.failed)],
    )
    yield (
        "isthmus_agent_certificate_expiry_seconds",
        "gauge",
        "When the certificate in use expires, in Unix seconds.",
        [] if certificate is None else [("", certificate.expires)],
    )
    yield (
        "isthmus_agent_secrets_rejected_total",
        "counter",
        "Secrets that Envoy refused.",
        [("", secrets.rejected)],
    )


def _statsd(relay: Relay) -> Iterator[Metric]:
    yield (
        "isthmus_agent_statsd_datagrams_total",
        "counter",
        "Datagrams of statistics that were sent on.",
        [("", relay.relayed)],
    )
    yield (
        "isthmus_agent_statsd_dropped_datagrams_total",
        "counter",
        "Datagrams of statistics that were not, by reason.",
        [(f'{{reason="{reason}"}}', relay.dropped[reason]) for reason in DROPPED],
    )


def _lines(metrics: Iterable[Metric]) -> Iterator[str]:
    for name, kind, text, samples in metrics:
        yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
        for labels, value in samples:
            yield f"{name}{labels} {value:.15g}\n"
