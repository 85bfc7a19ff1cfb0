from importlib.metadata import version

from isthmus import __version__


def test_the_version_is_the_packages() -> None:
    assert version("isthmus") == __version__
