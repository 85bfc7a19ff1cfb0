from decimal import Decimal

import pytest

from isthmus.lab.node.environment import (
    ConfigMissingError,
    expand,
    field_value,
    quantity,
    resolve_env,
    service_variables,
)
from isthmus.lab.node.podspec import Pod
from tests.lab.node.builders import PLACEMENT, pod, service

CONFIG = {"ConfigMap": {"cm": {"a": b"1", "bad name": b"x"}}, "Secret": {"s": {"key": b"hidden"}}}


def env_of(*variables: dict[str, object], **container: object) -> dict[str, str]:
    whole = {"name": "c", "env": list(variables)} | container
    subject = pod({"containers": [whole]}, labels={"app": "web"})
    return resolve(subject)


def resolve(subject: Pod) -> dict[str, str]:
    return resolve_env(
        subject,
        subject.spec.containers[0],
        PLACEMENT,
        lambda kind, name: CONFIG[kind].get(name),
        {"FROM_SERVICE": "s"},
    )


def test_variables_refer_to_earlier_ones_only() -> None:
    env = env_of(
        {"name": "LATE", "value": "$(EARLY)"},
        {"name": "EARLY", "value": "e"},
        {"name": "AFTER", "value": "<$(EARLY)>"},
    )
    assert env == {"FROM_SERVICE": "s", "LATE": "$(EARLY)", "EARLY": "e", "AFTER": "<e>"}


def test_a_double_dollar_is_a_dollar() -> None:
    assert expand("$$(A) $(A) $(B) $A", {"A": "1"}) == "$(A) 1 $(B) $A"


def test_values_come_from_fields_configs_and_resources() -> None:
    env = env_of(
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "a"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MILLI", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "nosuch", "key": "k", "optional": True}}},
        resources={"requests": {"cpu": "250m"}},
    )
    assert env == {
        "FROM_SERVICE": "s",
        "IP": "10.213.4.2",
        "APP": "web",
        "A": "1",
        "S": "hidden",
        "CPU": "2",
        "MILLI": "250",
    }


def test_whole_configs_become_variables_where_their_keys_can_be_names() -> None:
    env = env_of(envFrom=[{"prefix": "P_", "configMapRef": {"name": "cm"}}])
    assert env == {"FROM_SERVICE": "s", "P_a": "1"}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"configMapKeyRef": {"name": "nosuch", "key": "a"}}, 'configmap "nosuch" not found'),
        ({"secretKeyRef": {"name": "s", "key": "nosuch"}}, "couldn't find key nosuch in Secret s"),
    ],
)
def test_what_is_missing_is_named(source: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigMissingError, match=text):
        env_of({"name": "A", "valueFrom": source})


def test_a_field_that_no_pod_can_be_told_is_named() -> None:
    with pytest.raises(ValueError, match=r"spec\.nosuch"):
        field_value(pod(), "spec.nosuch", PLACEMENT)


def test_labels_are_told_as_lines() -> None:
    subject = pod(labels={"b": 'say "hi"', "a": "1"})
    assert field_value(subject, "metadata.labels", PLACEMENT) == 'a="1"\nb="say \\"hi\\""'


@pytest.mark.parametrize(
    ("text", "value"), [("250m", "0.25"), ("1Gi", "1073741824"), ("1e3", "1000"), ("2k", "2000")]
)
def test_quantities_have_suffixes(text: str, value: str) -> None:
    assert quantity(text) == Decimal(value)


def test_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="12 apples"):
        quantity("12 apples")


def test_services_are_told_as_variables() -> None:
    assert service_variables([service("my-web"), service("db", "None")]) == {
        "MY_WEB_SERVICE_HOST": "10.213.8.20",
        "MY_WEB_SERVICE_PORT": "80",
        "MY_WEB_SERVICE_PORT_HTTP": "80",
    }
