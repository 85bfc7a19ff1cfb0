import pytest

from isthmus.statsd.counts import OTHER_NAMES, NamedCounter
from isthmus.statsd.families import Limits
from isthmus.statsd.line import Kind
from isthmus.statsd.mapper import Mapper
from tests.statsd.kit import after, bridge, rules, shown

HISTOGRAM = "defaults: {observer_type: histogram, histogram_options: {buckets: [0.1, 1]}}"


def test_counters_add_and_are_scaled_by_their_rate():
    assert after(b"a:2|c\na:3|c", b"a:1|c|@0.1\na:0.5|c") == {"a": 15.5}


def test_gauges_are_set_and_changed():
    assert after(b"a:5|g\na:-7|g", b"a:+1.5|g") == {"a": -0.5}
    assert after(b"a:-7|g\na:3|g|@0.1") == {"a": 3}


def test_timers_are_shown_in_seconds_and_repeated_by_their_rate():
    assert after(b"t:50|ms|@0.5\nt:500|ms\nt:5000|ms", mapping=HISTOGRAM) == {
        "t_bucket{le=0.1}": 2,
        "t_bucket{le=1}": 3,
        "t_bucket{le=+Inf}": 4,
        "t_sum": 5.6,
        "t_count": 4,
    }


def test_histograms_and_distributions_keep_their_unit():
    seen = after(b"h:3|h|#k:v\nd:1:2:3|d")
    assert (seen["h{k=v,quantile=0.5}"], seen["h_sum{k=v}"], seen["h_count{k=v}"]) == (3, 3, 1)
    assert (seen["d{quantile=0.5}"], seen["d_sum"], seen["d_count"]) == (pytest.approx(2, rel=0.01), 6, 3)


def test_sets_count_distinct_values():
    assert after(b"s:ann|s\ns:ben|s\ns:ann|s") == {"s": 2}


def test_a_known_shape_reads_as_it_did_the_first_time():
    lines = [
        b"a:1|c|@0.5|#x:y",
        b"g:1|g",
        b"g:+1|g",
        b"t:1|ms",
        b"t:1:2|ms",
        b"s:v|s",
        b"s:w:v|s",
        b"a:x|c|@0.5|#x:y",
    ]
    fresh, known = bridge(), bridge(cache_size=1)
    for _ in range(3):
        for line in lines:
            fresh.take(line)
            known.take(line)
    assert shown(fresh) == shown(known)
    assert fresh.counts.sample_errors == known.counts.sample_errors
    assert fresh.counts.sample_errors == {"invalid_extended_aggregate_type": 3, "malformed_value": 3}


def test_lines_that_lack_a_part_never_pass_for_a_known_shape():
    lines = b"1|:5|c\n1|c\nname:1|s\nname|s\n|s:name\n:1|s\nname|:s"
    taken = bridge()
    taken.take(lines)
    taken.take(lines)
    assert shown(taken) == {"_1_": 10, "name": 1}


def test_a_negative_counter_is_refused_known_or_not():
    taken = bridge()
    taken.take(b"a:-1|c\nb:1|c\nb:-1|c")
    assert shown(taken) == {"b": 1}
    assert taken.counts.event_errors == {"illegal_negative_counter": 2}


def test_what_finds_no_series_is_counted_by_reason_and_metric():
    taken = bridge(limits=Limits(per_metric=1, total=2))
    taken.take(b"a:1|c|#x:1\na:1|c|#x:2\nb:1|c\nc:1|c\na:1|g\n,x=y:1|c\na:1|c|#__x:y")
    assert taken.counts.over_limits.counts == {("series_limit_of_metric", "a"): 1, ("series_limit", "c"): 1}
    assert taken.counts.conflicts.counts == {("gauge", "a"): 1}
    assert taken.counts.event_errors == {"empty_metric_name": 1, "reserved_label": 1}
    assert taken.counts.samples() == 7


def test_samples_are_counted_by_kind_action_and_tags():
    mapping = "mappings: [{match: m, name: m}, {match: d, action: drop}]"
    taken = bridge(mapping)
    for _ in range(2):
        taken.take(b"m:1|c\nu:1|g|#a:b\nd:1|c\nbad\nx:y|c\n\n\r\n")
    counts = taken.counts
    assert (counts.taken(Kind.COUNTER), counts.taken(Kind.GAUGE)) == (2, 2)
    assert (counts.taken(mapped=True), counts.taken(mapped=False), counts.taken(tagged=True)) == (2, 2, 2)
    assert (counts.dropped_by_mapping.samples, counts.samples(), counts.lines) == (2, 8, 14)


def test_a_series_that_ended_begins_anew():
    taken = bridge("defaults: {ttl: 5s}")
    taken.take(b"a:1|c\nb:1|c")
    taken.sweep(1)
    taken.sweep(6)
    taken.take(b"b:1|c")
    taken.sweep(7)
    assert shown(taken) == {"b": 2}
    taken.take(b"a:1|c")
    assert shown(taken) == {"b": 2, "a": 1}


def test_another_mapping_holds_for_the_next_sample_and_series_stay():
    taken = bridge()
    taken.take(b"a:1|c")
    taken.remap(Mapper(rules("mappings: [{match: a, name: b}]")))
    taken.take(b"a:1|c")
    assert shown(taken) == {"a": 1, "b": 1}


def test_shapes_in_use_are_remembered_and_others_forgotten():
    taken = bridge(cache_size=20)
    for number in range(1000):
        taken.take(b"used:1|c\nother:1|c|#n:%d" % (number % 100))
    seen = shown(taken)
    assert seen["used"] == 1000
    assert {value for series, value in seen.items() if series != "used"} == {10}


def test_names_in_counts_are_bounded():
    counter = NamedCounter()
    for number in range(5000):
        counter.add("conflict", str(number))
    assert len(counter.counts) == 1001
    assert counter.counts["conflict", OTHER_NAMES] == 4000
