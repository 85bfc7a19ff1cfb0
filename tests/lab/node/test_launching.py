from isthmus.lab.images import Bind
from isthmus.lab.node.launching import cover


def test_python_below_tmp_stays_there_when_a_volume_covers_it() -> None:
    """A checkout in /tmp runs the lab, and the chart's pods have a volume of their own at /tmp."""
    python, other = Bind("/tmp/checkout", "/tmp/checkout", lasting=True), Bind("/usr", "/usr")
    config, volume = Bind("/pods/b", "/tmp/config"), Bind("/pods/a", "/tmp", read_only=False)
    assert cover([other, python], [config, volume]) == (other, python, volume, config, python)
    assert cover([other, python], [config]) == (other, python, config)
