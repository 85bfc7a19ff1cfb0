"""A port's application protocol, as its Service declares it (Istio: "Explicit protocol selection").

First `appProtocol`, then the port name's prefix; a name that is no known protocol declares nothing.
"""

from isthmus.model.service import Protocol

_BY_NAME = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.GRPC,
    "grpc-web": Protocol.GRPC,  # HTTP/2 to the server, as in Istio
    "https": Protocol.HTTPS,
    "tls": Protocol.TLS,
    "tcp": Protocol.TCP,
    "udp": Protocol.UDP,
    "mongo": Protocol.TCP,
    "redis": Protocol.TCP,
    "mysql": Protocol.TCP,
}
_BY_APP_PROTOCOL = {
    # KEP-3726: the standard names of the Service API
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.HTTPS,
}
_SERVER_SPEAKS_FIRST = frozenset({25, 53, 3306, 27017})


def declared_protocol(transport: str, app_protocol: str, port_name: str) -> Protocol:
    """What a port declares; SNIFFED where it declares nothing. Unknown words declare nothing, as in Istio."""
    if transport == "UDP":
        return Protocol.UDP
    word = app_protocol or port_name
    standard = _BY_APP_PROTOCOL.get(word)
    if standard is not None:
        return standard
    word = word.lower()
    if word.startswith("grpc-web"):
        return Protocol.GRPC
    named = _BY_NAME.get(word.partition("-")[0], Protocol.SNIFFED)
    # A TCP port that is merely called `udp` is not one.
    return Protocol.SNIFFED if named is Protocol.UDP else named


def undeclared_protocol(port: int) -> Protocol:
    """For a port that no cluster declares: SNIFFED, except where servers speak first and sniffing would wait.

    Istio's list of well-known ports: SMTP, DNS, MySQL, MongoDB.
    """
    return Protocol.TCP if port in _SERVER_SPEAKS_FIRST else Protocol.SNIFFED
