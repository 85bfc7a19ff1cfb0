"""A kubeconfig that a person chose: files, inline data and exec plugins, merged over several files.

Not for anything that came over a network or out of a Secret (see `secret_kubeconfig`). Refused here too:
what Kubernetes itself dropped (auth providers, basic authentication), proxies and impersonation.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from isthmus.kube.access import Access, ExecPlugin
from isthmus.kube.kubeconfig import Section, check_pem, check_server, check_token, read_kubeconfig
from isthmus.lib.errors import UserError

_REMEDY = "correct it, or choose another context or file."
_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_REFUSED = {
    "auth-provider": "is no longer supported by Kubernetes; use an exec plugin",
    "username": "is basic authentication, which Kubernetes removed",
    "as": "asks for impersonation, which is not supported",
}


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    root: Section

    def named(self, listing: str, name: str, field: str) -> "_Part | None":
        entry = self.root.named(listing, name)
        return None if entry is None else _Part(entry.below(field), self.path.parent)


@dataclass(frozen=True, slots=True)
class _Part:
    """One entry, and the folder that its relative paths start from."""

    section: Section
    folder: Path

    def bytes_of(self, data_field: str, file_field: str, label: str) -> bytes | None:
        """Inline data, else the file's content (inline wins, as in kubectl)."""
        inline = self.section.pem(data_field, label)
        path = self.path_of(file_field)
        if inline is not None or path is None:
            return inline
        try:
            content = path.read_bytes()
        except OSError as error:
            raise self.section.refusal(file_field, f"{path} cannot be read: {error.strerror}") from None
        check_pem(self.section, file_field, content, label)
        return content

    def path_of(self, field: str) -> Path | None:
        text = self.section.text(field)
        return self.folder / text if text else None


def load_access(paths: Sequence[Path], context: str | None) -> Access:
    """The access of one context over these files, of which the first to define a name wins.

    Raises UserError; where one field is to blame, KubeconfigRefused.
    """
    files = [_read(path.expanduser()) for path in paths]
    where = ", ".join(str(file.path) for file in files)
    name = context or next(filter(None, (file.root.text("current-context") for file in files)), "")
    if not name:
        raise UserError(f"{where} has no current context; name one with --context.")
    chosen = _find(files, "contexts", name, "context")
    if chosen is None:
        raise UserError(f"{where} has no context {name!r}; `kubectl config get-contexts` lists them.")
    cluster = _referred(files, chosen.section, "cluster", "clusters")
    if chosen.section.has("user"):
        user = _referred(files, chosen.section, "user", "users")
    else:
        user = _Part(Section("", {}, _REMEDY), Path())
    return _access(chosen.section, cluster, user)


def _read(path: Path) -> _File:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"The kubeconfig {path} cannot be read: {error.strerror}; name another file."
        ) from None
    return _File(path, read_kubeconfig(text, f"correct it in {path}, or choose another context or file."))


def _find(files: Sequence[_File], listing: str, name: str, field: str) -> _Part | None:
    return next(filter(None, (file.named(listing, name, field) for file in files)), None)


def _referred(files: Sequence[_File], context: Section, field: str, listing: str) -> _Part:
    found = _find(files, listing, context.text(field), field)
    if found is None:
        raise context.refusal(field, f"names no entry of {listing}")
    return found


def _access(context: Section, cluster: _Part, user: _Part) -> Access:
    for name, reason in _REFUSED.items():
        if user.section.has(name):
            raise user.section.refusal(name, reason)
    if cluster.section.has("proxy-url"):
        raise cluster.section.refusal("proxy-url", "names a proxy, which is not supported")
    insecure = bool(cluster.section.fields.get("insecure-skip-tls-verify"))
    return Access(
        server=check_server(cluster.section),
        ca_pem=cluster.bytes_of("certificate-authority-data", "certificate-authority", "CERTIFICATE"),
        client_cert_pem=user.bytes_of("client-certificate-data", "client-certificate", "CERTIFICATE"),
        client_key_pem=user.bytes_of("client-key-data", "client-key", "PRIVATE KEY"),
        token=check_token(user.section, "token", user.section.text("token")) or None,
        token_file=user.path_of("tokenFile"),
        tls_server_name=cluster.section.text("tls-server-name") or None,
        namespace=context.text("namespace") or "default",
        insecure=insecure,
        exec_plugin=_exec_plugin(user, cluster) if user.section.has("exec") else None,
    )


def _exec_plugin(user: _Part, cluster: _Part) -> ExecPlugin:
    section = user.section.below("exec")
    version = section.text("apiVersion")
    if version not in _EXEC_VERSIONS:
        raise section.refusal("apiVersion", f"must be one of {', '.join(_EXEC_VERSIONS)}")
    if section.text("interactiveMode") == "Always":
        raise section.refusal("interactiveMode", "asks for a terminal, which is not supported")
    command = section.text("command")
    if not command:
        raise section.refusal("command", "is missing")
    if "/" in command:
        command = str(user.folder / command)
    told = _cluster_info(cluster) if section.has("provideClusterInfo") else None
    arguments = _texts(section, "args")
    return ExecPlugin(version, (command, *arguments), _environment(section), told)


def _texts(section: Section, name: str) -> list[str]:
    value: object = section.fields.get(name) or []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in cast("list[object]", value)):
        raise section.refusal(name, "must be a list of texts")
    return cast("list[str]", value)


def _environment(section: Section) -> dict[str, str]:
    value: object = section.fields.get("env") or []
    try:
        pairs = cast("list[dict[str, Any]]", value)
        return {str(each["name"]): str(each["value"]) for each in pairs}
    except (TypeError, KeyError):
        raise section.refusal("env", "must be a list of name and value") from None


def _cluster_info(cluster: _Part) -> dict[str, object]:
    """ExecCredential `spec.cluster`: what of the cluster's entry a plugin may need."""
    fields = cluster.section.fields
    names = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data")
    return cast("dict[str, object]", json.loads(json.dumps({n: fields[n] for n in names if n in fields})))
