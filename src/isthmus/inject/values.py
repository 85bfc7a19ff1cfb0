"""The `values` of ConfigMap `istio-sidecar-injector`: what the chart tells injection, in Istio's names.

Istio's own ConfigMap can be read too: values that have no effect here are passed over.
"""

from typing import Any, cast

import msgspec

from isthmus.config.proxy import split_address
from isthmus.config.redirection import ANNOTATIONS, redirection_from
from isthmus.inject.settings import IMAGE, RESOURCES, InjectionSettings, NativeSidecars, refuse_object
from isthmus.lib.errors import UserError
from isthmus.lib.yaml_text import NotYaml, read_yaml

_HUB, _, _NAME = IMAGE.rpartition("/")
_Text = str | int | None


class _Proxy(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    image: str = _NAME
    resources: dict[str, dict[str, Any]] | None = None
    log_level: str = ""
    native_sidecars: NativeSidecars = NativeSidecars.AUTO
    hold_application_until_proxy_starts: bool = False
    include_outbound_ranges: _Text = msgspec.field(default=None, name="includeIPRanges")
    exclude_outbound_ranges: _Text = msgspec.field(default=None, name="excludeIPRanges")
    include_inbound_ports: _Text = None
    exclude_inbound_ports: _Text = None
    include_outbound_ports: _Text = None
    exclude_outbound_ports: _Text = None


class _MultiCluster(msgspec.Struct, frozen=True, rename="camel"):
    cluster_name: str | int | float = ""


class _Global(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    hub: str = _HUB
    tag: str | int | float = ""
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    multi_cluster: _MultiCluster = _MultiCluster()
    network: str = ""
    ca_address: str = ""
    proxy: _Proxy = _Proxy()


class _Webhook(msgspec.Struct, frozen=True, rename={"rewrite_probes": "rewriteAppHTTPProbe"}):
    rewrite_probes: bool = True


class _Values(msgspec.Struct, frozen=True, rename={"global_": "global", "webhook": "sidecarInjectorWebhook"}):
    global_: _Global = _Global()
    webhook: _Webhook = _Webhook()


def read_values(text: str, source: str) -> InjectionSettings:
    """Settings out of JSON or YAML; they have no proxy configuration but `holdApplicationUntilProxyStarts`.

    UserError names `source` and the value.
    """
    try:
        raw: object = read_yaml(text)
    except NotYaml as error:
        raise UserError(f"{source} is neither JSON nor YAML ({error}); correct it there.") from error
    if isinstance(raw, dict):
        refuse_object(cast("dict[str, Any]", raw), source, "values")
    try:
        values = msgspec.convert({} if raw is None else raw, _Values)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).rpartition(" - at `$.")
        where = f"{source}: {path.rstrip('`')}" if reason else source
        raise UserError(f"{where} is not as the chart has it: {reason or error}; correct it.") from error
    given = values.global_
    if given.ca_address:
        split_address(given.ca_address, f"{source}: global.caAddress")
    return InjectionSettings(
        image=_image(given),
        cluster_id=str(given.multi_cluster.cluster_name),
        ca_address=given.ca_address,
        network=given.network,
        proxy_config=(
            {"holdApplicationUntilProxyStarts": True}
            if given.proxy.hold_application_until_proxy_starts
            else {}
        ),
        native_sidecars=given.proxy.native_sidecars,
        resources=RESOURCES if given.proxy.resources is None else given.proxy.resources,
        log_level=given.proxy.log_level,
        image_pull_policy=given.image_pull_policy,
        image_pull_secrets=given.image_pull_secrets,
        rewrite_probes=values.webhook.rewrite_probes,
        redirection=_redirection(given.proxy, source),
    )


def _image(given: _Global) -> str:
    """As in Istio's template: an image with a slash is a whole name."""
    if "/" in given.proxy.image:
        return given.proxy.image
    return f"{given.hub}/{given.proxy.image}" + (f":{given.tag}" if given.tag != "" else "")


def _redirection(proxy: _Proxy, source: str) -> dict[str, str]:
    names = {field.name: field.encode_name for field in msgspec.structs.fields(proxy)}
    given = {field: getattr(proxy, field) for field in ANNOTATIONS}
    texts = {field: str(value) for field, value in given.items() if value is not None}
    redirection_from(texts, {field: f"{source}: global.proxy.{names[field]}" for field in ANNOTATIONS})
    return texts
