import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab.apiserver.quantities import billionths, canonical


@pytest.mark.parametrize(
    ("given_", "written"),
    [
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1000", "1k"),
        ("1500m", "1500m"),
        ("1024", "1024"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.1Ki", "102400m"),
        ("1Ki", "1Ki"),
        ("1e3", "1e3"),
        ("2E-3", "2e-3"),
        ("0Mi", "0"),
        ("-0.25", "-250m"),
        ("0.0000000001", "1n"),
        (".5", "500m"),
    ],
)
def test_quantities_are_written_without_a_fraction_in_their_own_sort(given_: str, written: str) -> None:
    assert canonical(given_) == written


@given(
    st.from_regex(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", fullmatch=True),
    st.sampled_from(["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-3"]),
)
def test_what_is_written_is_worth_the_same_and_is_written_the_same_again(digits: str, suffix: str) -> None:
    written = canonical(digits + suffix)
    assert canonical(written) == written
    whole = 10**9 if suffix.endswith("i") else 1  # of bytes there is no fraction
    assert 0 <= abs(billionths(written)) - abs(billionths(digits + suffix)) < whole


@pytest.mark.parametrize("text", ["", ".", "1 ", "x", "1KI", "1mm", "1e", "--1", "1" * 65])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        canonical(text)


def test_exponents_beyond_all_measure_cost_nothing() -> None:
    assert billionths("1e-999999999") == 1
    assert len(str(billionths("1e999999999"))) < 100
