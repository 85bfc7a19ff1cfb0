from pathlib import Path

import pytest

from isthmus.statsd.errors import MappingRefused
from isthmus.statsd.mapping_file import ObserverType
from isthmus.statsd.reloading import load_rules
from tests.statsd.kit import rules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mappings: [{match: a, name: b}, {match: 'a b', name: c}]", "mappings[1].match: `a b` is no glob"),
        ("mappings: [{match: '(', match_type: regex, name: c}]", "mappings[0].match: `(` is no regular"),
        ("mappings: [{match: a}]", "mappings[0].name: a mapping that does not drop must name a metric"),
        ("mappings: [{match: a, name: 'x y'}]", "mappings[0].name: `x y` is no metric name"),
        ("mappings: [{match: a, name: x, labels: {a-b: c}}]", "mappings[0].labels: `a-b` is no label name"),
        ("mappings: [{match: a, name: x, labels: {__x: c}}]", "mappings[0].labels: `__x` is no label name"),
        ("mappings: [{name: x}]", "mappings[0]: object missing required field `match`"),
        ("mappings: [{match: a, name: x, scale: much}]", "mappings[0].scale: `much` is not a number"),
        ("mappings: [{match: a, name: x, scale: .inf}]", "mappings[0].scale: `inf` is no finite number"),
        ("mappings: [{match: a, name: x, ttl: 5}]", "mappings[0].ttl: `5` is not a duration"),
        ("mappings: [{match: a, name: x, action: keep}]", "mappings[0].action: invalid enum value 'keep'"),
        (
            "mappings: [{match: a, name: x, match_metric_type: timer}]",
            "mappings[0].match_metric_type: invalid",
        ),
        ("mappings: [{match: a, nam: x}]", "mappings[0]: object contains unknown field `nam`"),
        ("mappings: {a: b}", "mappings: expected `array`, got `object`"),
        ("[1]", "The mapping is refused: expected `object`, got `array`"),
        ("a: [", "line 1: it is not YAML ("),
        ("a: \x00", "it is not YAML (unacceptable character"),
        ("a: " + "[" * 50_000 + "]" * 50_000, "line 1: it is not YAML (it nests deeper than 200 levels)"),
        ("mappings:\n- {match: a, name: b, name: c}", "line 2: it is not YAML (a key is there twice)"),
        ("defaults: {observer_type: tally}", "defaults.observer_type: invalid enum value 'tally'"),
        (
            "mappings: [{match: a, name: x, observer_type: histogram, summary_options: {max_age: 1s}}]",
            "mappings[0].summary_options: the observer is a histogram",
        ),
        (
            "{defaults: {observer_type: summary}, mappings: "
            "[{match: a, name: x, histogram_options: {buckets: [1]}}]}",
            "mappings[0].histogram_options: the observer is a summary",
        ),
        (
            "mappings: [{match: a, name: x, histogram_options: {buckets: [2, 1]}}]",
            "mappings[0].histogram_options.buckets: must be finite numbers that rise",
        ),
        (
            "defaults: {summary_options: {quantiles: [{quantile: 50, error: 0.1}]}}",
            "defaults.summary_options.quantiles: must be between 0 and 1",
        ),
        (
            "mappings: [{match: a, name: x, summary_options: {age_buckets: 1000}}]",
            "mappings[0].summary_options.age_buckets: must be between 1 and 100",
        ),
        (
            "mappings: [{match: a, name: x, observer_type: summary, timer_type: histogram}]",
            "mappings[0].timer_type: observer_type says otherwise",
        ),
    ],
)
def test_a_refusal_names_the_mapping_and_the_field(text: str, said: str):
    with pytest.raises(MappingRefused) as refused:
        rules(text)
    assert said in str(refused.value)
    assert str(refused.value).endswith("correct it there.")


def test_an_empty_file_maps_nothing():
    assert rules("").rules == rules("mappings:\n").rules == ()


def test_what_a_mapping_leaves_out_is_taken_from_the_defaults():
    read = rules(
        """
        defaults:
          observer_type: histogram
          histogram_options: {buckets: [.005, 1, .inf]}
          summary_options: {quantiles: [{quantile: 0.9, error: 0.1}], max_age: 1m, age_buckets: 2}
          ttl: 1h
        mappings:
        - {match: a, name: a}
        - {match: b, name: b, observer_type: summary, ttl: 5s, summary_options: {max_age: 10s}}
        """
    )
    first, second = (rule.options for rule in read.rules)
    assert (first.observer.type, first.observer.buckets, first.ttl) == (
        ObserverType.HISTOGRAM,
        (0.005, 1.0),
        3600,
    )
    assert (second.observer.type, second.observer.quantiles) == (ObserverType.SUMMARY, (0.9,))
    assert (second.observer.max_age, second.observer.age_buckets, second.ttl) == (10, 2, 5)
    assert read.unmapped.ttl == 3600


def test_fields_without_effect_are_warned_of():
    warnings = list[str]()
    rules(
        """
        defaults: {glob_disable_ordering: true, summary_options: {buf_cap: 1000}}
        mappings:
        - match: (.*)
          match_type: regex
          name: $1_total
          labels: {x: $2}
          histogram_options: {native_histogram_bucket_factor: 1.1}
        """,
        warnings,
    )
    assert warnings == [
        "defaults.summary_options.buf_cap",
        "mappings[0].name",
        "mappings[0].labels.x",
        "mappings[0].histogram_options.native_histogram_bucket_factor",
        "defaults.glob_disable_ordering",
    ]


def test_a_file_that_cannot_be_read_is_refused_by_its_name(tmp_path: Path):
    for file, reason in ((tmp_path / "none.yml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(MappingRefused, match=reason) as refused:
            load_rules(file)
        assert str(file) in str(refused.value)
    (tmp_path / "latin.yml").write_bytes(b"mappings: [\xe4]")
    with pytest.raises(MappingRefused, match="not UTF-8"):
        load_rules(tmp_path / "latin.yml")
