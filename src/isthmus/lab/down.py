"""`isthmus lab down`: end every process and remove everything that the lab made, whatever state it is in."""

from isthmus.lab.network import unmake_all
from isthmus.lab.up import only_one, require_root


def take_down() -> None:
    """Leave nothing of the lab. Safe to call again, after a crash, and when there is no lab."""
    require_root("down")
    with only_one():
        unmake_all()
