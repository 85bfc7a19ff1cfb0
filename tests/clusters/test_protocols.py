"""Port protocols as Istio's rules read them."""

import pytest

from isthmus.clusters.protocols import declared_protocol
from isthmus.model.service import Protocol


@pytest.mark.parametrize(
    ("app_protocol", "name", "expected"),
    [
        ("", "http", Protocol.HTTP),
        ("", "http-web", Protocol.HTTP),
        ("", "HTTP-web", Protocol.HTTP),
        ("", "http2-web", Protocol.HTTP2),
        ("", "grpc", Protocol.GRPC),
        ("", "grpc-web", Protocol.GRPC),
        ("", "grpc-web-x", Protocol.GRPC),
        ("", "https-web", Protocol.HTTPS),
        ("", "tls", Protocol.TLS),
        ("", "tcp-db", Protocol.TCP),
        ("", "mongo", Protocol.TCP),
        ("", "redis-cache", Protocol.TCP),
        ("", "mysql", Protocol.TCP),
        ("", "httpweb", Protocol.SNIFFED),
        ("", "web", Protocol.SNIFFED),
        ("", "udp", Protocol.SNIFFED),
        ("", "", Protocol.SNIFFED),
        ("kubernetes.io/h2c", "tcp", Protocol.HTTP2),
        ("kubernetes.io/ws", "tcp", Protocol.HTTP),
        ("kubernetes.io/wss", "", Protocol.HTTPS),
        ("grpc", "http", Protocol.GRPC),
        ("example.com/odd", "http", Protocol.SNIFFED),
    ],
)
def test_app_protocol_counts_before_the_names_prefix(app_protocol: str, name: str, expected: Protocol):
    assert declared_protocol("TCP", app_protocol, name) is expected


def test_udp_is_udp_whatever_it_is_called():
    assert declared_protocol("UDP", "http", "http") is Protocol.UDP
