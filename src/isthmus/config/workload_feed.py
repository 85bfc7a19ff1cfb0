"""A workload as the control plane tells of it: `istio.workload.Address`, and its labels besides.

Whoever serves the feed and whoever follows it both use this module, so that they cannot disagree. The
message is built from its descriptor as the module loads. Source: Istio's workload API (`workload.proto`). Its
fields keep their numbers; labels, which it lacks, are a field of our own that its other readers skip.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any, cast

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, Message

TYPE_URL = "type.googleapis.com/istio.workload.Address"
KIND = "policy"
"""What a reader calls itself: the first part of its node id (Istio: `sidecar`, `router`, `ztunnel`)."""
ACCOUNT = "istio-policy-service-account"
"""The service account, in the control plane's namespace, to which alone the feed is served."""


@dataclass(frozen=True, slots=True)
class FedWorkload:
    """One pod with addresses of its own. `workload` is its owner's name, "" where it has none."""

    cluster: str
    namespace: str
    name: str
    addresses: tuple[str, ...]
    account: str
    workload: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def uid(self) -> str:
        """The resource's name, as Istio spells it: `CLUSTER//Pod/NAMESPACE/NAME`."""
        return uid(self.cluster, self.namespace, self.name)


def uid(cluster: str, namespace: str, name: str) -> str:
    """`CLUSTER//Pod/NAMESPACE/NAME`; a cluster's name has no slash."""
    return f"{cluster}//Pod/{namespace}/{name}"


def split_uid(text: str) -> tuple[str, str, str] | None:
    """Cluster, namespace and name of a pod's uid; None for anything else."""
    cluster, _, rest = text.partition("//Pod/")
    namespace, slash, name = rest.partition("/")
    return (cluster, namespace, name) if slash else None


def encode(workload: FedWorkload) -> bytes:
    """The serialised Address, the same for equal content in every process; without what is no IP address."""
    address = _ADDRESS()
    found = cast("Any", address).workload
    found.uid = workload.uid
    found.name, found.namespace, found.cluster_id = workload.name, workload.namespace, workload.cluster
    found.addresses.extend(filter(None, map(packed, workload.addresses)))
    found.service_account, found.workload_name = workload.account, workload.workload
    found.labels.update(workload.labels)
    return address.SerializeToString(deterministic=True)


def decode(body: bytes) -> FedWorkload:
    """The reverse. Raises ValueError for what is no Address of a workload, and for an IP that is none."""
    message = _ADDRESS()
    try:
        message.ParseFromString(body)
    except DecodeError:
        raise ValueError("it is no istio.workload.Address") from None
    if not message.HasField("workload"):
        raise ValueError("it is no workload")
    found = cast("Any", message).workload
    return FedWorkload(
        cluster=found.cluster_id,
        namespace=found.namespace,
        name=found.name,
        addresses=tuple(map(_address, found.addresses)),
        account=found.service_account,
        workload=found.workload_name,
        labels=dict(found.labels),
    )


def packed(address: str) -> bytes | None:
    """An IP address in 4 or 16 bytes; None where the text is none."""
    try:
        return inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except OSError:
        return None


def _address(raw: bytes) -> str:
    """An address as Envoy spells it."""
    if len(raw) not in (4, 16):
        raise ValueError(f"an IP address has 4 or 16 bytes, not {len(raw)}")
    return inet_ntop(AF_INET if len(raw) == 4 else AF_INET6, raw)


def _text(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "number": number, "type": "TYPE_STRING"}


_FILE = {
    "name": "isthmus/istio_workload.proto",
    "package": "istio.workload",
    "syntax": "proto3",
    "messageType": [
        {
            "name": "Address",
            "field": [
                {
                    "name": "workload",
                    "number": 1,
                    "type": "TYPE_MESSAGE",
                    "typeName": ".istio.workload.Workload",
                    "oneofIndex": 0,
                }
            ],
            "oneofDecl": [{"name": "type"}],
        },
        {
            "name": "Workload",
            "field": [
                _text("name", 1),
                _text("namespace", 2),
                {"name": "addresses", "number": 3, "type": "TYPE_BYTES", "label": "LABEL_REPEATED"},
                _text("service_account", 7),
                _text("workload_name", 13),
                _text("cluster_id", 18),
                _text("uid", 20),
                {
                    "name": "labels",
                    "number": 1000,
                    "type": "TYPE_MESSAGE",
                    "label": "LABEL_REPEATED",
                    "typeName": ".istio.workload.Workload.LabelsEntry",
                },
            ],
            "nestedType": [
                {
                    "name": "LabelsEntry",
                    "field": [_text("key", 1), _text("value", 2)],
                    "options": {"mapEntry": True},
                }
            ],
        },
    ],
}


def _describe() -> type[Message]:
    """In a pool of our own: another module that registers the same names disturbs nobody."""
    file = cast("Message", cast("Any", descriptor_pb2).FileDescriptorProto())
    json_format.ParseDict(_FILE, file)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("istio.workload.Address"))


_ADDRESS = _describe()
