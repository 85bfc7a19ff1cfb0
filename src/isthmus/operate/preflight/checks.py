"""The checks: facts in, findings out, each with why it matters and what to do. Pure.

The requirements are the guide's: versions, unique names and CIDRs, routable pods and API servers, Helm.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import combinations

from isthmus.lib.errors import UserError
from isthmus.operate.preflight.addresses import check_addresses
from isthmus.operate.preflight.facts import ClusterFacts, Helm, Probes
from isthmus.operate.preflight.findings import Finding, Level, fine
from isthmus.operate.registration import check_name

_KUBERNETES_LEAST = (1, 7, 3)
_KUBERNETES_GOOD = (1, 21, 0)
HELM_LEAST = (2, 7, 2)
_SKEW_WARNING = 5.0
_SKEW_ERROR = 60.0
"""Seconds. The Date header has whole ones, and the way there takes its time."""
_TIERS = {
    "read": "services and endpoints of this cluster cannot be seen",
    "authenticate": "workloads of this cluster cannot prove who they are",
    "heal": "the addresses of the control plane in this cluster are not kept up to date",
    "renew": "the token is not renewed before it expires",
}


def check(clusters: Sequence[ClusterFacts], control: str, probes: Probes, helm: Helm) -> list[Finding]:
    """Everything that the facts say. `control` is the name of the control plane's cluster."""
    reachable = [one for one in clusters if not one.trouble]
    return [
        *_names(clusters),
        *_versions(clusters),
        *_identities(reachable),
        *_unread(reachable),
        *check_addresses(reachable),
        *_clocks(reachable),
        *_slices(reachable),
        *_rights(reachable, control),
        *_probes(probes, control),
        _helm(helm),
    ]


def read_version(text: str) -> tuple[int, int, int] | None:
    """The numbers of `v1.7.3-gke.1`, None where there are none."""
    found = re.search(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def _names(clusters: Sequence[ClusterFacts]) -> Iterable[Finding]:
    seen: set[str] = set()
    for one in clusters:
        try:
            check_name(one.name)
        except UserError:
            what = f"{one.name!r} cannot be a cluster's name in the mesh"
            why = "a name is a Secret's name and key, and a part of statistics"
            remedy = "call it otherwise here by NAME=CONTEXT, and as `isthmus cluster add NAME`"
            yield Finding("name-valid", Level.WARNING, what, (one.name,), why, remedy)
        if one.name in seen:
            why = "a cluster's name must be unique in the mesh; a second one of a name is not joined"
            remedy = "tell them apart by NAME=CONTEXT"
            yield Finding("name-unique", Level.ERROR, "two clusters have this name", (one.name,), why, remedy)
        seen.add(one.name)


def _versions(clusters: Sequence[ClusterFacts]) -> Iterable[Finding]:
    for one in clusters:
        if one.trouble:
            why = "nothing of this cluster can be checked or joined"
            remedy = "correct the context, whose user must be an administrator, or the network to it"
            what = f"the API server {one.server} cannot be asked: {one.trouble}"
            yield Finding("reachable", Level.ERROR, what, (one.name,), why, remedy)
            continue
        version = read_version(one.version)
        what = f"Kubernetes {one.version or 'of unknown version'}"
        if version is None or version < _KUBERNETES_LEAST:
            why = "the mesh needs 1.7.3 or newer"
            yield Finding("version", Level.ERROR, what, (one.name,), why, "upgrade the cluster")
        elif version < _KUBERNETES_GOOD:
            why = "before 1.21 there is no EndpointSlice v1, and tokens that expire are not sure to be served"
            remedy = "upgrade it; or join it with --use-current-credentials"
            yield Finding("version", Level.WARNING, what, (one.name,), why, remedy)
        else:
            yield fine("version", what, one.name)


def _unread(clusters: Sequence[ClusterFacts]) -> Iterable[Finding]:
    for one in clusters:
        for reason in one.unread:
            why = "addresses in use could not be compared with other clusters'"
            remedy = "use a context that may list it"
            yield Finding("unread", Level.WARNING, f"could not read {reason}", (one.name,), why, remedy)


def _identities(clusters: Sequence[ClusterFacts]) -> Iterable[Finding]:
    for left, right in combinations(clusters, 2):
        if left.identity and left.identity == right.identity:
            why = (
                "one cluster under two names would have each of its endpoints twice; the second is not served"
            )
            yield Finding(
                "identity",
                Level.ERROR,
                "both are the same cluster (equal UID of kube-system)",
                (left.name, right.name),
                why,
                "leave one of the two out, or correct its context",
            )


def _clocks(clusters: Sequence[ClusterFacts]) -> Iterable[Finding]:
    why = "tokens and certificates are judged by each cluster's own clock"
    remedy = "let the machines follow a time server (NTP)"
    known = [one for one in clusters if one.skew is not None]
    for one in known:
        skew = one.skew or 0.0
        what = f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
        if (level := _skew_level(skew)) is not Level.OK:
            yield Finding("clock", level, what, (one.name,), why, remedy)
    for left, right in combinations(known, 2):
        skew = abs((left.skew or 0.0) - (right.skew or 0.0))
        names = (left.name, right.name)
        if (level := _skew_level(skew)) is Level.OK:
            yield fine("clock-between", "their clocks agree", *names)
        else:
            yield Finding("clock-between", level, f"their clocks are {skew:.0f} s apart", names, why, remedy)


def _skew_level(skew: float) -> Level:
    if abs(skew) > _SKEW_ERROR:
        return Level.ERROR
    return Level.WARNING if abs(skew) > _SKEW_WARNING else Level.OK


def _slices(clusters: Sequence[ClusterFacts]) -> Iterable[Finding]:
    for one in clusters:
        if one.slices:
            yield fine("endpoint-slices", f"EndpointSlices are served ({one.slices})", one.name)
        else:
            why = "Endpoints are read in their place, which lack zones and are cut off after 1000 addresses"
            what, remedy = "EndpointSlices are not served", "upgrade the cluster to 1.21 or newer"
            yield Finding("endpoint-slices", Level.WARNING, what, (one.name,), why, remedy)


def _rights(clusters: Sequence[ClusterFacts], control: str) -> Iterable[Finding]:
    for one in clusters:
        missing = {tier: rights for tier, rights in one.missing_rights.items() if rights}
        if not missing:
            yield fine("rights", "this context's user has the rights that are needed", one.name)
        for tier, rights in missing.items():
            what = f"this context's user may not {', '.join(rights[:3])}"
            what += f", and {len(rights) - 3} more" if len(rights) > 3 else ""
            if tier == "join":
                whose = (
                    "keep the cluster Secrets" if one.name == control else "make the account and its rights"
                )
                why, remedy = f"that is needed to {whose}", "use a context of an administrator"
                yield Finding("rights", Level.ERROR, what, (one.name,), why, remedy)
                continue
            level = Level.ERROR if tier == "read" else Level.WARNING
            why = f"tier {tier} can only be granted by who has it; without it {_TIERS[tier]}"
            remedy = "use a context of an administrator"
            remedy += "" if tier == "read" else f", or leave {tier} out of --rights"
            yield Finding("rights", level, what, (one.name,), why, remedy)


def _probes(probes: Probes, control: str) -> Iterable[Finding]:
    if probes.skipped:
        remedy = "run again with --probe, which starts a short-lived pod in each cluster"
        for id_, what in (
            ("api-routable", f"whether pods of {control} reach the API servers was not tried"),
            ("pods-routable", "whether pods reach pods of other clusters was not tried"),
        ):
            yield Finding(id_, Level.SKIPPED, what, (), probes.skipped, remedy)
        return
    for cluster, reason in probes.failed.items():
        why = "whether its pods reach the others is not known"
        what = f"the probe's pods could not be run: {reason}"
        remedy = "correct that, or name another image with --probe-image"
        yield Finding("probe", Level.WARNING, what, (cluster,), why, remedy)
    for one in probes.reached:
        names = (one.source, one.target)
        id_ = "pods-routable" if one.what == "pod" else "api-routable"
        thing = "a pod" if one.what == "pod" else "the API server"
        if not one.error:
            yield fine(id_, f"a pod of {one.source} reaches {thing} of {one.target}", *names)
            continue
        what = f"no pod of {one.source} reaches {thing} of {one.target} at {one.address}: {one.error}"
        if one.what == "pod":
            why = "Envoy connects to pods of other clusters by their own addresses"
            remedy = f"route the pod CIDR of {one.target} to its nodes, and let firewalls pass it"
        else:
            why = "the control plane watches each cluster at its API server"
            remedy = (
                "route it, let firewalls pass it, or give an address that works by `cluster add --server`"
            )
        yield Finding(id_, Level.ERROR, what, names, why, remedy)


def _helm(helm: Helm) -> Finding:
    version = read_version(helm.version)
    if helm.version and version is not None and version >= HELM_LEAST:
        return fine("helm", f"Helm {helm.version}")
    why, remedy = "the charts need Helm 2.7.2 or newer", "install a newer helm and have it on PATH"
    if helm.version:
        return Finding("helm", Level.ERROR, f"Helm {helm.version} is too old", (), why, remedy)
    what = f"helm cannot be used here: {helm.trouble}"
    return Finding("helm", Level.WARNING, what, (), why, remedy)
