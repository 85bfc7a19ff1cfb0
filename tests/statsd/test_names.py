import pytest

from isthmus.statsd.names import escape_name


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("clean", "clean"),
        ("0starts_with_digit", "_0starts_with_digit"),
        ("with--doubledash", "with_doubledash"),
        ("with---multiple-dashes", "with_multiple_dashes"),
        ("with😱emoji", "with_emoji"),
        ("with.*.multiple", "with___multiple"),
        ("größe", "gr__e"),
        ("a:b", "a_b"),
        ("", ""),
    ],
)
def test_names_are_escaped_as_statsd_exporter_does(name: str, escaped: str):
    assert escape_name(name) == escaped
