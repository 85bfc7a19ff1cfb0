"""Whether what a proxy says it is agrees with what it proved. Pure, and the same for every kind of proxy."""

from isthmus.ca.wording import shown
from isthmus.model.identity import Identity
from isthmus.model.proxy import Proxy
from isthmus.model.workload import Workload


def contradiction(proxy: Proxy, identity: Identity, workload: Workload | None = None) -> str:
    """Why this proxy must not have its configuration, naming both identities; "" where it may.

    `workload` is the Pod that the proxy's node names, as its cluster shows it, None while it is not known. A
    node that does not say its service account claims the proved one (Istio: checkConnectionIdentity).
    """
    account = proxy.metadata.get("SERVICE_ACCOUNT", identity.service_account)
    namespaces = {proxy.namespace, proxy.metadata.get("NAMESPACE", proxy.namespace)}
    claims = f"node {shown(proxy.node_id)} claims"
    for namespace in sorted(namespaces - {identity.namespace}):
        return f"{claims} ns/{shown(namespace)}/sa/{shown(account)} but proved {identity}"
    if account != identity.service_account:
        return f"{claims} ns/{identity.namespace}/sa/{shown(account)} but proved {identity}"
    if identity.cluster and proxy.cluster and proxy.cluster != identity.cluster:
        return f"{claims} cluster {shown(proxy.cluster)} but proved {identity} in cluster {identity.cluster}"
    if identity.pod and proxy.pod != identity.pod:
        return f"{claims} pod {shown(proxy.pod)} but proved {identity} in pod {identity.pod}"
    if workload is not None and workload.service_account != identity.service_account:
        runs_as = f"ns/{workload.key.namespace}/sa/{workload.service_account}"
        return f"{claims} pod {workload.key.name}, which runs as {runs_as}, but proved {identity}"
    return ""
