import subprocess
import sys

import pytest

from isthmus.lab.leftovers import tmpfs_sources
from isthmus.lab.network import inside, refuse_foreign_routes
from isthmus.lib.errors import UserError
from tests.support.boxed import boxed, needs_root


def test_a_route_into_the_labs_range_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"10\.213\.16\.0/20 \(dev tun0\)"):
        refuse_foreign_routes([{"dst": "default", "dev": "eth0"}, {"dst": "10.213.16.0/20", "dev": "tun0"}])


def test_wider_routes_and_the_labs_own_are_no_obstacle() -> None:
    refuse_foreign_routes(
        [
            {"dst": "default", "dev": "eth0"},
            {"dst": "10.0.0.0/8", "dev": "tun0"},
            {"dst": "192.168.1.1", "dev": "eth0"},
            {"dst": "10.213.240.0/30", "dev": "isthmus0"},
        ]
    )


def test_a_command_is_run_inside_with_nothing_else_changed() -> None:
    assert inside("isthmus-west", ["id"]) == ["nsenter", "--net=/run/netns/isthmus-west", "--", "id"]


def test_named_tmpfs_mounts_are_found_in_mountinfo() -> None:
    text = (
        "1 0 0:1 / / rw,relatime shared:1 - tmpfs isthmus-west rw,mode=755\n"
        "2 1 0:2 / /proc rw - proc proc rw\n"
        "3 1 8:1 / /usr ro - ext4 /dev/sda rw\n"
    )
    assert tmpfs_sources(text) == ["isthmus-west"]


@needs_root
@pytest.mark.e2e
def test_networks_are_made_and_unmade_leaving_nothing() -> None:
    done = subprocess.run(
        boxed([sys.executable, "-m", "tests.lab.network_scenario"]),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
