from isthmus.statsd.intervals import Intervals


def test_intervals_end_one_after_the_other():
    intervals = Intervals(10, 3, now=5)
    assert [intervals.ended(now) for now in (5, 14.9, 15, 15, 24.9, 25, 47, 55)] == [0, 0, 1, 0, 0, 1, 2, 1]


def test_no_more_end_than_a_window_has():
    intervals = Intervals(10, 3, now=0)
    assert (intervals.ended(1000), intervals.ended(1009), intervals.ended(1010)) == (3, 0, 1)
