import pytest

from isthmus.statsd.distinct import SlidingDistinct


def test_few_values_are_counted_exactly():
    distinct = SlidingDistinct()
    for number in range(1000):
        distinct.add(b"%d" % (number % 500))
    assert distinct.count() == 500


def test_many_values_are_estimated():
    distinct = SlidingDistinct()
    for number in range(50_000):
        distinct.add(b"%d" % number)
    assert distinct.count() == pytest.approx(50_000, rel=0.2)


def test_values_are_forgotten_after_two_intervals():
    distinct = SlidingDistinct()
    distinct.add(b"a")
    distinct.advance()
    distinct.add(b"a")
    distinct.add(b"b")
    assert distinct.count() == 2
    distinct.advance()
    distinct.advance()
    assert distinct.count() == 0
