"""The reader's account and rights in a remote cluster, tier by tier: the files of the istio-remote chart.

There is one copy of them, in the chart, which a wheel carries in its `share/isthmus/helm`. What tier renew
takes in the control plane's own cluster is here alone: a role for each Secret, which no chart can know.
"""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any, cast

import yaml

from isthmus.lib.errors import UserError

ACCOUNT = "istio-reader-service-account"
PILOT_ACCOUNT = "istio-pilot-service-account"
TIERS = ("read", "authenticate", "heal", "renew")
_ADOPTION = {
    "meta.helm.sh/release-name": "istio-remote",
    "meta.helm.sh/release-namespace": "NAMESPACE",
}
"""With these a later `helm install istio-remote` takes the objects over, where it would refuse to else."""


def parse_tiers(text: str) -> tuple[str, ...]:
    """Tiers out of `read,heal`, in their order. `read` is always needed. Raises UserError (usage)."""
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in wanted if part not in TIERS]
    if unknown:
        raise UserError(
            f"--rights: {unknown[0]!r} is no tier of rights; choose of {', '.join(TIERS)}.", exit_code=2
        )
    if "read" not in wanted:
        raise UserError("--rights lacks read, without which a cluster cannot be joined; add it.", exit_code=2)
    return tuple(tier for tier in TIERS if tier in wanted)


def rights_objects(tiers: Sequence[str], namespace: str) -> list[dict[str, Any]]:
    """The account and the roles and bindings of these tiers, ready to be created."""
    folder = charts_folder() / "istio-remote" / "rights"
    found: list[dict[str, Any]] = []
    for name in ("account", *tiers):
        text = (folder / f"{name}.yaml").read_text().replace("NAMESPACE", namespace)
        found += cast("list[dict[str, Any]]", list(yaml.safe_load_all(text)))
    for body in found:
        metadata = body["metadata"]
        metadata["labels"] = {**metadata.get("labels", {}), "app.kubernetes.io/managed-by": "Helm"}
        metadata["annotations"] = {
            name: value.replace("NAMESPACE", namespace) for name, value in _ADOPTION.items()
        }
    return found


def renewal_objects(cluster: str, namespace: str) -> list[dict[str, Any]]:
    """What lets the control plane in `namespace` change this cluster's Secret, and no other."""
    api, name = "rbac.authorization.k8s.io", f"istio-pilot-renew-{cluster}"
    metadata = {"name": name, "namespace": namespace, "labels": {"app": "istio-pilot"}}
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [cluster], "verbs": ["patch"]}
    subject = {"kind": "ServiceAccount", "name": PILOT_ACCOUNT, "namespace": namespace}
    role_ref = {"apiGroup": api, "kind": "Role", "name": name}
    return [
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": role_ref,
            "subjects": [subject],
        },
    ]


def charts_folder() -> Path:
    """Where the charts are: in the checkout that this runs from, else where the wheel put them."""
    checkout = Path(__file__).parents[3] / "install" / "kubernetes" / "helm"
    if (checkout / "istio-remote" / "Chart.yaml").is_file():
        return checkout
    try:
        packaged = files("isthmus") or []
    except PackageNotFoundError:
        packaged = []
    for file in packaged:
        if file.as_posix().endswith("share/isthmus/helm/istio-remote/Chart.yaml"):
            return Path(str(file.locate())).resolve().parent.parent
    raise UserError("The charts are not beside this installation; install the package isthmus as a whole.")
