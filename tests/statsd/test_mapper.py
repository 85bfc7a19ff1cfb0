import pytest

from tests.statsd.kit import after

DOCUMENTED = """
mappings:
- match: "test.dispatcher.*.*.*"
  name: "dispatcher_events_total"
  labels: {processor: "$1", action: "$2", outcome: "$3", job: test_dispatcher}
- match: "*.signup.*.*"
  name: "signup_events_total"
  labels: {provider: "$2", outcome: "$3", job: "${1}_server"}
- match: "client.*.*.counter"
  name: "${2}_total"
  labels: {provider: "$1"}
- match: "(.*)\\\\.(?P<app>.*)--(.*)\\\\.status"
  match_type: regex
  name: "request_${app}"
  labels: {host: "$1", code: "$3", whole: "$0", price: "$$1"}
"""


@pytest.mark.parametrize(
    ("line", "series"),
    [
        (
            b"test.dispatcher.Foo.send.success:1|c",
            "dispatcher_events_total{action=send,job=test_dispatcher,outcome=success,processor=Foo}",
        ),
        (
            b"foo_product.signup.facebook.failure:1|c",
            "signup_events_total{job=foo_product_server,outcome=failure,provider=facebook}",
        ),
        (b"test.web-server.foo.bar:1|c", "test_web_server_foo_bar"),
        (b"client.web.logins.counter:1|c", "logins_total{provider=web}"),
        (
            b"host.shop--200.status:1|c",
            "request_shop{code=200,host=host,price=$1,whole=host.shop--200.status}",
        ),
    ],
)
def test_names_are_mapped_as_documented(line: bytes, series: str):
    assert after(line, mapping=DOCUMENTED) == {series: 1}


def test_globs_come_before_regexes_whatever_their_order():
    mapping = "mappings: [{match: .*, match_type: regex, name: regex}, {match: a.*, name: glob}]"
    assert after(b"a.b:1|c\nb.c:1|c", mapping=mapping) == {"glob": 1, "regex": 1}


def test_a_mapping_of_one_type_leaves_others_to_the_next():
    mapping = """
    mappings:
    - {match: a, match_metric_type: counter, name: counted}
    - {match: a, match_metric_type: gauge, name: gauged}
    - {match: a, name: any}
    """
    shown = after(b"a:1|c\na:2|g\na:3000|ms", mapping=mapping)
    assert (shown["counted"], shown["gauged"], shown["any_sum"]) == (1, 2, 3)


def test_labels_of_the_mapping_win_unless_those_of_the_client_are_honoured():
    mapping = """
    mappings:
    - {match: a, name: a, labels: {job: mapped, more: x}}
    - {match: b, name: b, honor_labels: true, labels: {job: mapped, more: x}}
    """
    assert after(b"a:1|c|#job:sent\nb:1|c|#job:sent", mapping=mapping) == {
        "a{job=mapped,more=x}": 1,
        "b{job=sent,more=x}": 1,
    }


def test_values_are_scaled():
    mapping = "mappings: [{match: '*', name: half_$1, scale: 0.5}]"
    assert after(b"c:3|c\ng:3|g\ng:+1|g", mapping=mapping) == {"half_c": 1.5, "half_g": 2}


def test_what_is_dropped_is_not_shown():
    mapping = (
        "mappings: [{match: ok.*, name: ok}, {match: ., match_type: regex, action: drop, name: dropped}]"
    )
    assert after(b"ok.a:1|c\nother:1|c\nother:1|c\nother:a|s", mapping=mapping) == {"ok": 1}
