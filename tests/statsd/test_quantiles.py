from math import ceil, isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.statsd.quantiles import SlidingQuantiles

VALUES = st.one_of(
    st.floats(min_value=1e-6, max_value=1e9), st.floats(min_value=-1e9, max_value=-1e-6), st.just(0.0)
)
QUANTILES = (0.0, 0.25, 0.5, 0.9, 0.99, 1.0)


@given(st.lists(VALUES, min_size=1, max_size=200))
def test_every_quantile_is_within_one_percent_of_the_value_of_its_rank(values: list[float]):
    sketch = SlidingQuantiles(1)
    for value in values:
        sketch.observe(value, 1)
    ranked = sorted(values)
    for quantile, found in zip(QUANTILES, sketch.values(QUANTILES), strict=True):
        true = ranked[max(1, ceil(quantile * len(ranked))) - 1]
        assert found == pytest.approx(true, rel=0.01001)


def test_equal_values_are_exact():
    sketch = SlidingQuantiles(5)
    sketch.observe(0.123, 10)
    assert sketch.values((0.5, 0.99)) == [0.123, 0.123]


def test_the_window_forgets_its_oldest_interval():
    sketch = SlidingQuantiles(2)
    sketch.observe(1.0, 1)
    sketch.advance()
    sketch.observe(9.0, 1)
    assert sketch.values((0.5, 1.0)) == pytest.approx([1.0, 9.0], rel=0.01)
    sketch.advance()
    assert sketch.values((0.5, 1.0)) == [9.0, 9.0]
    sketch.advance()
    assert all(map(isnan, sketch.values((0.5, 1.0))))


def test_weights_count_as_repetitions():
    sketch = SlidingQuantiles(1)
    sketch.observe(1.0, 98)
    sketch.observe(100.0, 2)
    assert sketch.values((0.5, 0.98, 0.99)) == pytest.approx([1.0, 1.0, 100.0], rel=0.01)


def test_absurd_values_take_bounded_room():
    sketch = SlidingQuantiles(1)
    for exponent in range(-300, 300):
        sketch.observe(10.0**exponent, 1)
        sketch.observe(-(10.0**exponent), 1)
    assert sketch.values((0.0, 1.0)) == [pytest.approx(-1e12, rel=0.01), pytest.approx(1e12, rel=0.01)]
