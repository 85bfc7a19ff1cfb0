import json
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from isthmus.config.durations import parse_duration
from isthmus.config.mesh import (
    MeshConfig,
    OutboundMode,
    StalePolicy,
    TlsVersion,
    describe_mesh_config,
    read_mesh_config,
)
from isthmus.lib.errors import UserError
from isthmus.model.service import ServiceKey


def test_empty_text_gives_istios_defaults() -> None:
    assert read_mesh_config("") == read_mesh_config("{}") == MeshConfig()
    assert MeshConfig().connect_timeout == timedelta(seconds=10)
    assert MeshConfig().outbound_traffic_policy.mode is OutboundMode.ALLOW_ANY


def test_istios_yaml_is_read() -> None:
    config = read_mesh_config(
        """
        enableAutoMtls: false
        meshMTLS: {minProtocolVersion: TLSV1_3}
        trustDomain: mesh.example
        trustDomainAliases: [old.example]
        outboundTrafficPolicy: {mode: REGISTRY_ONLY}
        connectTimeout: 1m30s
        protocolDetectionTimeout: 250ms
        accessLogFile: /dev/stdout
        rootNamespace: mesh
        meshNetworks:
          network1: {endpoints: [{fromRegistry: west}]}
          network2: {endpoints: [{fromRegistry: east}, {fromRegistry: north}]}
        defaultConfig:
          discoveryAddress: istio-pilot.mesh.svc:15010
          drainDuration: 30s
          terminationDrainDuration: 10s
          concurrency: 0
        disablePolicyChecks: true
        policyCheckFailOpen: true
        mixerCheckServer: istio-policy.mesh.svc.cluster.local:9091
        """
    )
    assert not config.enable_auto_mtls
    assert config.mesh_mtls.min_protocol_version is TlsVersion.TLSV1_3
    assert config.trust_domain == "mesh.example"
    assert config.trust_domain_aliases == ("old.example",)
    assert config.outbound_traffic_policy.mode is OutboundMode.REGISTRY_ONLY
    assert config.connect_timeout == timedelta(seconds=90)
    assert config.protocol_detection_timeout == timedelta(milliseconds=250)
    assert config.networks == {"west": "network1", "east": "network2", "north": "network2"}
    assert config.default_config.concurrency == 0
    assert (config.disable_policy_checks, config.policy_check_fail_open) == (True, True)
    assert config.policy_server == (ServiceKey("mesh", "istio-policy"), 9091)
    assert MeshConfig().policy_server == (ServiceKey("istio-system", "istio-policy"), 15004)
    plain = read_mesh_config("defaultConfig: {discoveryAddress: 'istio-pilot.istio-system.svc:15010'}")
    assert plain.policy_server == (ServiceKey("istio-system", "istio-policy"), 9091)
    assert config.default_config.termination_drain_duration == timedelta(seconds=10)


def test_what_is_in_force_is_told_in_the_words_of_the_file() -> None:
    text = "connectTimeout: 1m30s\nisthmus: {policyCheckTimeout: 250ms, certificates: {clockSkew: 1us}}"
    config = read_mesh_config(text)
    told = describe_mesh_config(config)
    assert (told["connectTimeout"], told["isthmus"]["policyCheckTimeout"]) == ("90s", "0.250s")
    assert told["isthmus"]["certificates"]["clockSkew"] == "0.000001s"
    assert told["meshMTLS"] == {"minProtocolVersion": "TLS_AUTO"}
    assert read_mesh_config(json.dumps(told)) == config


def test_a_field_without_effect_is_named_in_one_warning_and_nothing_else() -> None:
    with capture_logs() as logs:
        config = read_mesh_config(
            """
            enableTracing: true
            defaultConfig: {tracing: {sampling: 1}}
            meshNetworks: {n: {endpoints: [{fromRegistry: west, fromCidr: 10.0.0.0/8}], gateways: []}}
            """
        )
    assert config.networks == {"west": "n"}
    assert [log["field"] for log in logs] == [
        "enableTracing",
        "defaultConfig.tracing",
        "meshNetworks.n.endpoints[0].fromCidr",
        "meshNetworks.n.gateways",
    ]
    assert {log["log_level"] for log in logs} == {"warning"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trustDomain: 3", "trustDomain: expected `str`, got `int`"),
        ("trustDomain: ''", "trustDomain: expected `str` of length >= 1"),
        ("outboundTrafficPolicy: {mode: MAYBE}", "outboundTrafficPolicy.mode: invalid enum value 'MAYBE'"),
        ("connectTimeout: 10", "connectTimeout: `10` is not a duration"),
        ("connectTimeout: soon", "connectTimeout: `soon` is not a duration"),
        ("connectTimeout: 0s", "connectTimeout: must be longer than 0s"),
        ("defaultConfig: {concurrency: many}", "defaultConfig.concurrency: expected `int`"),
        ("defaultConfig: {concurrency: -1}", "defaultConfig.concurrency: expected `int` >= 0"),
        ("meshNetworks: {n: {endpoints: [{}]}}", "missing required field `fromRegistry`"),
        (
            "meshNetworks: {a: {endpoints: [{fromRegistry: x}]}, b: {endpoints: [{fromRegistry: x}]}}",
            "meshNetworks.b: cluster x is in network a too",
        ),
        ("mixerCheckServer: istio-policy:15004", "mixerCheckServer: 'istio-policy:15004' names no service"),
        ("mixerCheckServer: istio-policy.mesh", "mixerCheckServer: 'istio-policy.mesh' names no service"),
        ("isthmus: {policyCheckTimeout: 0s}", "isthmus.policyCheckTimeout: must be longer than 0s"),
        ("- a list", "must be a mapping"),
        ("a: [", "not YAML (line 1: "),
    ],
)
def test_what_is_refused_is_named(text: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        read_mesh_config(text)
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1s ", "1 s", "1d", "1.s"])
def test_no_duration_without_a_unit_or_with_rubbish(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_what_stale_endpoints_are_worth_is_read_and_refused_by_path() -> None:
    assert MeshConfig().isthmus.stale_endpoints.policy is StalePolicy.KEEP
    text = "isthmus: {staleEndpoints: {policy: deprioritise, after: 90s, recovery: 10s}}"
    found = read_mesh_config(text).isthmus.stale_endpoints
    assert (found.policy, found.after.seconds, found.recovery.seconds) == (StalePolicy.DEPRIORITISE, 90, 10)
    with pytest.raises(UserError, match=r"isthmus\.staleEndpoints\.policy"):
        read_mesh_config("isthmus: {staleEndpoints: {policy: forget}}")


def test_certificates_that_cannot_live_together_are_refused_by_field() -> None:
    good = read_mesh_config(
        "isthmus: {certificates: {lifetime: 1h, longestLifetime: 2h, rootIntroduction: 5s}}"
    )
    assert good.isthmus.certificates.lifetime == timedelta(hours=1)
    for bad, field in (
        ("lifetime: 0s", "certificates.lifetime"),
        ("lifetime: 10h, longestLifetime: 1h", "certificates.longestLifetime"),
        ("rootLifetime: 1h", "certificates.rootLifetime"),
        ("clockSkew: 5", "certificates.clockSkew"),
    ):
        with pytest.raises(UserError, match=field):
            read_mesh_config(f"isthmus: {{certificates: {{{bad}}}}}")
