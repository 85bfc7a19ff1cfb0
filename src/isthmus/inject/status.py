"""The annotation in which an injection writes down what it added, so that it can be undone or done anew.

Istio's names, and three of ours: labels and annotations that were added, and the application's probes as they
were.
"""

from typing import Any

import msgspec

from isthmus.inject.workload import Workload

STATUS = "sidecar.istio.io/status"
TLS_MODE = "security.istio.io/tlsMode"


class Status(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Names of what was added, by part of the pod's spec; path → handler of each probe that was rewritten.

    What Istio or an older version injected says nothing of labels: it added just the one.
    """

    init_containers: list[str] | None = None
    containers: list[str] | None = None
    volumes: list[str] | None = None
    image_pull_secrets: list[str] | None = None
    revision: str = "default"
    labels: tuple[str, ...] = (TLS_MODE,)
    annotations: tuple[str, ...] = ()
    probes: dict[str, dict[str, Any]] | None = None

    def added(self, part: str) -> list[str]:
        """Names that were added to `initContainers`, `containers`, `volumes` or `imagePullSecrets`."""
        parts = {
            "initContainers": self.init_containers,
            "containers": self.containers,
            "volumes": self.volumes,
            "imagePullSecrets": self.image_pull_secrets,
        }
        return parts[part] or []


PARTS = ("initContainers", "containers", "volumes", "imagePullSecrets")


def read_status(workload: Workload) -> Status | None:
    """What an injection wrote down, ours or Istio's; None where there was none."""
    text = workload.annotations.get(STATUS)
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Status)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise workload.error(
            f"metadata.annotations[{STATUS}]", f"is not as an injection writes it ({error}); remove it."
        ) from error


def write_status(status: Status) -> str:
    """The annotation's text."""
    return msgspec.json.encode(status).decode()
