"""The text of a kubeconfig (v1 Config) into named parts whose every field knows its path.

Pure reading with bounds: what may be used of it differs, see `secret_kubeconfig` and `person_kubeconfig`.
No error quotes the text, which holds secrets.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import yaml

from isthmus.kube.errors import KubeconfigRefused

MOST_BYTES = 1 << 20
_MOST_DEPTH = 32
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Section:
    """One mapping of the file, its path (`users[0].user`) and the remedy that its refusals name."""

    path: str
    fields: Mapping[str, Any] = field(repr=False)
    remedy: str

    def refusal(self, name: str, reason: str) -> KubeconfigRefused:
        """The error for one field of this section."""
        return KubeconfigRefused(f"{self.path}.{name}" if self.path else name, reason, self.remedy)

    def has(self, name: str) -> bool:
        """Whether the field is there and says something."""
        return self.fields.get(name) not in (None, "", False, [], {})

    def text(self, name: str) -> str:
        """A text field, "" where it is absent."""
        value = self.fields.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.refusal(name, f"must be text, not {_kind_of(value)}")
        return value

    def data(self, name: str) -> bytes | None:
        """A base64 field decoded, None where it is absent."""
        text = self.text(name)
        if not text:
            return None
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise self.refusal(name, "is not base64") from None

    def pem(self, name: str, label: str) -> bytes | None:
        """A base64 field that holds PEM blocks of the labelled kind ("CERTIFICATE", "PRIVATE KEY")."""
        decoded = self.data(name)
        if decoded is not None:
            check_pem(self, name, decoded, label)
        return decoded

    def below(self, name: str) -> "Section":
        """The mapping in a field, empty where it is absent."""
        value = self.fields.get(name)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.refusal(name, f"must be a mapping, not {_kind_of(value)}")
        path = f"{self.path}.{name}" if self.path else name
        return Section(path, cast("dict[str, Any]", value), self.remedy)

    def named(self, name: str, wanted: str) -> "Section | None":
        """The entry of a list (`clusters`, `users`, `contexts`) whose `name` is the wanted one."""
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.refusal(name, f"must be a list, not {_kind_of(value)}")
        for index, entry in enumerate(cast("list[Any]", value)):
            if isinstance(entry, dict):
                fields = cast("dict[str, Any]", entry)
                if fields.get("name") == wanted:
                    return Section(f"{name}[{index}]", fields, self.remedy)
        return None


def read_kubeconfig(text: bytes, remedy: str) -> Section:
    """The whole file. Raises KubeconfigRefused for what is too large, no YAML, or no kubeconfig."""
    root = Section("", {}, remedy)
    if len(text) > MOST_BYTES:
        raise root.refusal("", f"is larger than {MOST_BYTES >> 10} KiB")
    try:
        _check_shape(text, root)
        whole: object = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise root.refusal("", f"is no YAML{line}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise root.refusal("", "is no YAML") from None
    if not isinstance(whole, dict):
        raise root.refusal("", "is no kubeconfig: a mapping with clusters, users and contexts is expected")
    section = Section("", cast("dict[str, Any]", whole), remedy)
    if section.text("kind") not in ("", "Config"):
        raise section.refusal("kind", "must be Config")
    return section


def _check_shape(text: bytes, root: Section) -> None:
    """Refuse what would blow up as it is composed: deep nesting, and aliases, which merges multiply."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise root.refusal("", "uses YAML aliases")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MOST_DEPTH:
                raise root.refusal("", "is nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def check_server(cluster: Section) -> str:
    """The cluster's `server` as a base URL without a trailing slash."""
    server = cluster.text("server")
    if not server:
        raise cluster.refusal("server", "is missing")
    try:
        parts = urlsplit(server)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, known = None, False
    if parts is None or not known:
        raise cluster.refusal("server", "must be a URL such as https://203.0.113.7:6443")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise cluster.refusal("server", "must hold nothing but scheme, host, port and path")
    return server.rstrip("/")


def check_pem(section: Section, name: str, pem: bytes, label: str) -> None:
    """Refuse what holds no PEM block of that label; a bad one inside is found as TLS is set up."""
    ending = f"{label}-----".encode()
    if b"-----BEGIN " not in pem or ending not in pem:
        raise section.refusal(name, f"holds no PEM {label}")


def check_token(user: Section, name: str, token: str) -> str:
    """A bearer token fit for a header; refused where it has characters that no token has."""
    token = token.strip()
    if any(not "!" <= character <= "~" for character in token):
        raise user.refusal(name, "has characters that no token has")
    return token


def _kind_of(value: object) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return "text" if isinstance(value, str) else "something else"
