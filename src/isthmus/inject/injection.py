"""Injection itself, pure: a pod in, the same pod with its sidecar out.

The application's own containers, init containers and volumes come out as they went in, but for probes, which
the sidecar's agent makes from now on. What an earlier injection added is taken out first, so that doing it
again with equal settings changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from isthmus.config.app_probes import VARIABLE, write_app_probes
from isthmus.config.proxy import ProxyConfig
from isthmus.config.redirection import ANNOTATIONS, Redirection, redirection_from
from isthmus.inject.annotations import PROXY_CONFIG, SidecarOptions, read_options, without_effect
from isthmus.inject.containers import (
    as_native,
    holding,
    init_container,
    names_of,
    proxy_container,
    sidecar_volumes,
)
from isthmus.inject.probes import RewrittenProbes
from isthmus.inject.removal import without_sidecar
from isthmus.inject.settings import InjectionSettings, as_proxy_config, overlay
from isthmus.inject.status import STATUS, TLS_MODE, Status, write_status
from isthmus.inject.workload import Workload
from isthmus.lib.yaml_text import NotYaml, read_yaml

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"

Items = Sequence[Mapping[str, Any]]


def inject(workload: Workload, settings: InjectionSettings) -> dict[str, Any]:
    """The workload's pod with its sidecar; UserError names the annotation or field that stands against it."""
    workload = without_sidecar(workload)
    options = read_options(workload, settings)
    config = _proxy_config(workload, settings, options)
    probes = RewrittenProbes(workload, config.get("statusPort", ProxyConfig().status_port))
    containers, inits = _items(workload, "containers"), _items(workload, "initContainers")
    if options.rewrite_probes:
        containers = probes.rewrite(containers, "containers")
        if options.native:  # else they start before the agent that would make their probes
            inits = probes.rewrite(inits, "initContainers")
    pulling = {"imagePullPolicy": settings.image_pull_policy} if settings.image_pull_policy else {}
    init = init_container(options.image, _redirection(workload, settings), options.resources) | pulling
    proxy = _proxy(workload, settings, options, config, probes) | pulling
    volumes = [*sidecar_volumes(), *options.volumes]
    secrets = _items(workload, "imagePullSecrets")
    more_secrets = [{"name": name} for name in settings.image_pull_secrets if name not in names_of(secrets)]
    for part, added in (("containers", [proxy]), ("initContainers", [init, proxy]), ("volumes", volumes)):
        _refuse_names(workload, part, names_of(added))
    if options.native:
        inits = [init, as_native(proxy), *inits]
    elif config.get("holdApplicationUntilProxyStarts"):
        containers, inits = [holding(proxy), *containers], [*inits, init]
    else:
        containers, inits = [*containers, proxy], [*inits, init]
    spec = {
        **workload.spec,
        "initContainers": inits,
        "containers": containers,
        "volumes": [*_items(workload, "volumes"), *volumes],
        **({"imagePullSecrets": [*secrets, *more_secrets]} if more_secrets else {}),
    }
    status = Status(
        init_containers=names_of([init, proxy] if options.native else [init]),
        containers=[] if options.native else names_of([proxy]),
        volumes=names_of(volumes),
        image_pull_secrets=names_of(more_secrets),
        probes=probes.originals,
    )
    return {**workload.pod, "metadata": _metadata(workload, status), "spec": spec}


def _items(workload: Workload, part: str) -> Items:
    return cast("Items", workload.spec.get(part) or ())


def _metadata(workload: Workload, status: Status) -> dict[str, Any]:
    """With our label and annotations, where the application has none of its own, and what was added."""
    labels = {} if TLS_MODE in workload.labels else {TLS_MODE: "istio"}
    first = names_of(_items(workload, "containers"))[0]
    annotations = {} if _DEFAULT_CONTAINER in workload.annotations else {_DEFAULT_CONTAINER: first}
    whole = msgspec.structs.replace(status, labels=tuple(labels), annotations=tuple(annotations))
    return {
        **workload.metadata,
        "labels": {**workload.labels, **labels},
        "annotations": {**workload.annotations, **annotations, STATUS: write_status(whole)},
    }


def remarks(workload: Workload, settings: InjectionSettings) -> Iterator[str]:
    """What whoever injects this pod ought to know, each a clause of its own."""
    for key in without_effect(workload):
        yield f"annotation {key} has no effect"
    if workload.ends and not read_options(workload, settings).native:
        yield (
            "its sidecar does not end by itself, so it completes only when the application ends it by"
            " POST http://127.0.0.1:15020/quitquitquit"
        )


def _redirection(workload: Workload, settings: InjectionSettings) -> Redirection:
    annotations = workload.annotations
    texts = {field: annotations[key] for field, key in ANNOTATIONS.items() if key in annotations}
    names = {field: f"{workload.place}: annotation {key}" for field, key in ANNOTATIONS.items()}
    return redirection_from({**settings.redirection, **texts}, names)


def _proxy_config(workload: Workload, settings: InjectionSettings, options: SidecarOptions) -> dict[str, Any]:
    source = f"{workload.place}: annotation {PROXY_CONFIG}"
    try:
        raw = read_yaml(workload.annotations.get(PROXY_CONFIG, ""))
    except NotYaml as error:
        raise workload.error(f"metadata.annotations[{PROXY_CONFIG}]", f"is no YAML: {error}") from error
    config = overlay(settings.proxy_config, as_proxy_config(raw, source))
    return {**config, "statusPort": options.status_port} if options.status_port else config


def _proxy(
    workload: Workload,
    settings: InjectionSettings,
    options: SidecarOptions,
    config: Mapping[str, Any],
    probes: RewrittenProbes,
) -> dict[str, Any]:
    given = {"ENVOY_LOG_LEVEL": options.log_level, "CA_ADDR": settings.ca_address}
    environment = {name: value for name, value in given.items() if value}
    if probes.told:
        environment[VARIABLE] = write_app_probes(probes.told)
    proxy = proxy_container(
        options.image,
        proxy_config=config,
        metadata={
            "CLUSTER_ID": settings.cluster_id,
            "NETWORK": settings.network,
            "INTERCEPTION_MODE": "REDIRECT",
            "WORKLOAD_NAME": workload.name,
            "APP_CONTAINERS": ",".join(names_of(workload.spec["containers"])),
        },
        environment=environment,
        resources=options.resources,
        mounts=options.mounts,
        readiness=options.readiness,
    )
    if options.status_port == 0:
        del proxy["readinessProbe"]
    return proxy


def _refuse_names(workload: Workload, part: str, needed: Sequence[str]) -> None:
    for index, name in enumerate(names_of(_items(workload, part))):
        if name in needed:
            raise workload.error(
                f"spec.{part}[{index}].name", f"is {name!r}, a name the sidecar needs; choose another."
            )
