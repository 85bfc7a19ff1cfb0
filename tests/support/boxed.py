"""A machine within the machine: network, mount and PID namespaces of its own, with an empty `/run`.

What runs in it cannot meet a lab that is up outside, and nothing of it outlives its first process.
Needs root.
"""

import os
from collections.abc import Sequence

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a box is made of namespaces, which needs root")

_SCRIPT = (
    "umount -lR /run/netns 2>/dev/null; mount -t tmpfs tmpfs /run && mount -t sysfs sysfs /sys"
    ' && ip link set lo up && exec "$@"'
)


def boxed(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in a new box."""
    namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return ["unshare", *namespaces, "sh", "-c", _SCRIPT, "sh", *command]
