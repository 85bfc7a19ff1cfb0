"""A kubeconfig out of a cluster Secret: inline data only.

Whoever may write the Secret must not gain a process, a file or a detour in the control plane: exec plugins,
auth providers, file paths, proxies and insecure-skip-tls-verify are refused by name (design: Security).
"""

from isthmus.kube.access import Access
from isthmus.kube.kubeconfig import Section, check_server, check_token, read_kubeconfig
from isthmus.kube.tls import check_material

REMEDY = (
    "make one with inline data by `kubectl config view --raw --flatten --minify` "
    "for a user with a token or client certificate"
)

_CLUSTER_REFUSED = {
    "insecure-skip-tls-verify": "would trust any server; give certificate-authority-data instead",
    "certificate-authority": "names a file, which is not read from here; give certificate-authority-data",
    "proxy-url": "names a proxy, which is not used; the API server must be reached directly",
}
_USER_REFUSED = {
    "exec": "would run a program, which the control plane does not do",
    "auth-provider": "names an auth provider, which the control plane does not have",
    "client-certificate": "names a file, which is not read from here; give client-certificate-data",
    "client-key": "names a file, which is not read from here; give client-key-data",
    "tokenFile": "names a file, which is not read from here; give token",
    "username": "is basic authentication, which Kubernetes removed; give a token",
    "password": "is basic authentication, which Kubernetes removed; give a token",
    "as": "asks for impersonation, which is not supported",
    "as-uid": "asks for impersonation, which is not supported",
    "as-groups": "asks for impersonation, which is not supported",
    "as-user-extra": "asks for impersonation, which is not supported",
}


def access_from_secret(text: bytes) -> Access:
    """The access in a kubeconfig's current context. Raises KubeconfigRefused(field, reason, remedy)."""
    root = read_kubeconfig(text, REMEDY)
    name = root.text("current-context")
    if not name:
        raise root.refusal("current-context", "is missing")
    entry = root.named("contexts", name)
    if entry is None:
        raise root.refusal("contexts", "has no entry of the current context's name")
    context = entry.below("context")
    cluster = _referred(root, context, "cluster", "clusters")
    user = _referred(root, context, "user", "users")
    _refuse(cluster, _CLUSTER_REFUSED)
    _refuse(user, _USER_REFUSED)
    server = check_server(cluster)
    access = Access(
        server=server,
        ca_pem=cluster.pem("certificate-authority-data", "CERTIFICATE"),
        client_cert_pem=user.pem("client-certificate-data", "CERTIFICATE"),
        client_key_pem=user.pem("client-key-data", "PRIVATE KEY"),
        token=check_token(user, "token", user.text("token")) or None,
        tls_server_name=cluster.text("tls-server-name") or None,
        namespace=context.text("namespace") or "default",
    )
    _check_credentials(access, cluster, user)
    return access


def _referred(root: Section, context: Section, field: str, listing: str) -> Section:
    wanted = context.text(field)
    if not wanted:
        raise context.refusal(field, "is missing")
    entry = root.named(listing, wanted)
    if entry is None:
        raise context.refusal(field, f"names no entry of {listing}")
    return entry.below(field)


def _refuse(section: Section, refused: dict[str, str]) -> None:
    for name, reason in refused.items():
        if section.has(name):
            raise section.refusal(name, reason)


def _check_credentials(access: Access, cluster: Section, user: Section) -> None:
    if access.client_cert_pem and not access.client_key_pem:
        raise user.refusal("client-key-data", "is missing beside client-certificate-data")
    if access.client_key_pem and not access.client_cert_pem:
        raise user.refusal("client-certificate-data", "is missing beside client-key-data")
    if access.server.startswith("http://"):
        if access.token or access.client_cert_pem:
            raise cluster.refusal(
                "server", "is plain http, over which no credentials are sent; give https://"
            )
        return
    if not access.token and not access.client_cert_pem:
        raise user.refusal("token", "is missing, and so is client-certificate-data: one of them is needed")
    problem = check_material(access)
    if problem is None:
        return
    where, reason = problem
    if where == "ca":
        raise cluster.refusal("certificate-authority-data", reason)
    raise user.refusal("client-certificate-data", reason)
