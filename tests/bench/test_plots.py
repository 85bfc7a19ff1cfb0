from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench.plots import plot

_SVG = "{http://www.w3.org/2000/svg}"


def test_a_plot_shows_every_point_within_its_frame_and_names_its_lines(tmp_path: Path) -> None:
    series = {"ours": [(10, 2.0), (5000, 400.0)], "a <floor>": [(10, 2.1), (5000, 401.0), (7, 0)]}
    plot(tmp_path / "plots" / "one.svg", "Time & place", "proxies", "ms", series)
    root = ElementTree.parse(tmp_path / "plots" / "one.svg").getroot()
    texts = [one.text for one in root.iter(f"{_SVG}text")]
    assert {"ours", "a <floor>", "Time & place", "proxies", "ms", "100", "1,000"} <= set(texts)
    circles = [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in root.iter(f"{_SVG}circle")]
    assert len(circles) == 4, "what is not positive is left out"
    assert all(64 <= x <= 490 and 40 <= y <= 352 for x, y in circles)
    left, right = circles[0], circles[1]
    assert left[0] < right[0]
    assert left[1] > right[1], "more is higher"
    named = {one.text: float(one.attrib["y"]) for one in root.iter(f"{_SVG}text")}
    assert abs(named["ours"] - named["a <floor>"]) > 13.5, "names do not cover each other"


def test_nothing_is_no_plot(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to plot"):
        plot(tmp_path / "none.svg", "none", "x", "y", {"ours": [(0, 1)]})
    assert not (tmp_path / "none.svg").exists()
