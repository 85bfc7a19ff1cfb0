"""The attributes that expressions may read: Istio's vocabulary as far as it can be told and proved.

What is said of the source comes from its certificate and from what the control plane knows; nothing that a
request says is ever proof of who sent it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol, TypeAlias

Value: TypeAlias = str | int | bool | datetime | Mapping[str, str]


class Shape(Enum):
    """An attribute's type in CEL. MAP: of strings by strings."""

    STRING = "string"
    INT = "int"
    BOOL = "bool"
    TIME = "timestamp"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute; `text` is for people. Without `may_be_absent` it always has a value.

    `guarded`: its absence must open no way past a rule that refuses.
    """

    name: str
    shape: Shape
    text: str
    guarded: bool = False
    may_be_absent: bool = True


class Attributes(Protocol):
    """The attributes of one request, told as they are asked for."""

    def get(self, name: str) -> Value | None:
        """The value of an attribute of `VOCABULARY`, None where it is absent."""
        ...

    def entries(self, name: str, keys: Sequence[str]) -> Mapping[str, str] | None:
        """At least these entries of a map, as far as they are there; None where the map is absent."""
        ...


def _workload(side: str, *, guarded: bool, origin: str) -> tuple[Attribute, ...]:
    told = {
        "cluster": "the cluster that it runs in",
        "namespace": "its namespace",
        "account": "its service account",
        "workload": "the name of what owns the pod, such as a Deployment",
    }
    return (
        *(
            Attribute(f"{side}.{name}", Shape.STRING, f"{text}; {origin}", guarded)
            for name, text in told.items()
        ),
        Attribute(f"{side}.labels", Shape.MAP, f"the pod's labels; {origin}", guarded),
    )


_ALL = (
    Attribute("source.ip", Shape.STRING, "the address that the connection came from"),
    Attribute("source.port", Shape.INT, "its port"),
    Attribute(
        "source.principal",
        Shape.STRING,
        "TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT of the client's certificate",
        guarded=True,
    ),
    *_workload("source", guarded=True, origin="by its certificate and the control plane"),
    Attribute("destination.ip", Shape.STRING, "the address that the connection went to"),
    Attribute("destination.port", Shape.INT, "its port"),
    Attribute("destination.service", Shape.STRING, "the service's host name, by the proxy's configuration"),
    *_workload("destination", guarded=False, origin="by the proxy's configuration"),
    Attribute("request.id", Shape.STRING, "the request's id"),
    Attribute("request.method", Shape.STRING, "GET, POST …"),
    Attribute("request.scheme", Shape.STRING, "http or https"),
    Attribute("request.host", Shape.STRING, "the host that is asked for"),
    Attribute("request.path", Shape.STRING, "the path with its query"),
    Attribute("request.url_path", Shape.STRING, "the path without its query"),
    Attribute("request.query_params", Shape.MAP, "the query's parameters; the last of one name counts", True),
    Attribute("request.headers", Shape.MAP, "the headers; names are lower-case"),
    Attribute("request.size", Shape.INT, "the body's size in bytes, where it is known"),
    Attribute("request.protocol", Shape.STRING, "HTTP/1.1, HTTP/2 …"),
    Attribute("request.time", Shape.TIME, "when the request came"),
    Attribute("request.useragent", Shape.STRING, "the header user-agent"),
    Attribute("request.referer", Shape.STRING, "the header referer"),
    Attribute(
        "connection.mtls", Shape.BOOL, "whether the client showed a certificate of the mesh", True, False
    ),
    Attribute("connection.sni", Shape.STRING, "the server name that TLS asked for"),
    Attribute("connection.requested_server_name", Shape.STRING, "the same, by Istio's name"),
)

VOCABULARY = {attribute.name: attribute for attribute in _ALL}
"""Every attribute by its name."""
