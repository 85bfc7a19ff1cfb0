"""How the lab names a pod, `CLUSTER/NAMESPACE/POD`, and how it reaches that pod's cluster."""

from dataclasses import dataclass

from isthmus.lab.plan import ClusterPlan
from isthmus.lab.up import running_lab
from isthmus.lib.errors import UserError


@dataclass(frozen=True, slots=True)
class PodReference:
    """One pod of one cluster."""

    cluster: str
    namespace: str
    pod: str

    def __str__(self) -> str:
        return f"{self.cluster}/{self.namespace}/{self.pod}"


def parse_reference(text: str) -> PodReference:
    """UserError (wrong usage) unless the text is `CLUSTER/NAMESPACE/POD`."""
    parts = text.split("/")
    if len(parts) != 3 or not all(parts):
        raise UserError(
            f"{text!r} names no pod; write CLUSTER/NAMESPACE/POD as `isthmus lab status` does.", exit_code=2
        )
    return PodReference(*parts)


def find_cluster(name: str) -> ClusterPlan:
    """The running lab's cluster of that name; UserError names those that there are."""
    plans = running_lab()
    if not plans:
        raise UserError("No lab is up; bring one up with `isthmus lab up`.")
    for plan in plans:
        if plan.name == name:
            return plan
    raise UserError(f"The lab has no cluster {name!r}; it has {', '.join(plan.name for plan in plans)}.")
