"""Run in a box: makes two clusters' networks, crosses them, and takes them down after a crash."""

import socket
import subprocess
from pathlib import Path

import pytest

from isthmus.lab.network import (
    clusters_up,
    inside,
    make_cluster,
    make_hub,
    pod_netns,
    unmake_all,
    unmake_cluster,
)
from isthmus.lab.plan import STATE, plan_clusters
from isthmus.lib.errors import UserError

WEST, EAST = plan_clusters(["west", "east"])
_TELL_PEER = """
import socket
server = socket.create_server(("", 7))
print(flush=True)
while True:
    connection, (peer, _) = server.accept()
    connection.send(peer.encode())
"""
_ASK = """
import socket, sys
print(socket.create_connection((sys.argv[1], 7), timeout=5).recv(99).decode())
"""
_UID = "5b6c1c4e-f710-4802-801e-8a174894adb9"


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def make() -> None:
    make_hub()
    for plan in (WEST, EAST):
        make_cluster(plan)


def check_reach() -> None:
    """From the host and from west to east's node, with the source address kept."""
    server = subprocess.Popen(inside(EAST.netns, ["python3", "-c", _TELL_PEER]), stdout=subprocess.PIPE)
    assert server.stdout is not None
    server.stdout.readline()
    with socket.create_connection((str(EAST.node_address), 7), timeout=5) as connection:
        assert connection.recv(99).decode() == "10.213.240.1"
    ask = inside(WEST.netns, ["python3", "-c", _ASK, str(EAST.node_address)])
    assert output(*ask).strip() == str(WEST.node_address)


def main() -> None:
    """Fails by an exception."""
    before = (output("ip", "address"), output("ip", "route"), sorted(Path("/run").iterdir()))
    make()
    make()
    assert clusters_up() == ["east", "west"]
    check_reach()
    with pytest.raises(UserError, match="'west'"):
        make_cluster(plan_clusters(["other"])[0])
    assert "-A" not in output("iptables-save")
    subprocess.run(["ip", "netns", "add", pod_netns(WEST, _UID)], check=True)
    stray = subprocess.Popen(inside(pod_netns(WEST, _UID), ["sleep", "1000"]))
    elsewhere = "mount -t tmpfs isthmus-west /mnt && mount -t tmpfs isthmus-west-1 /mnt && exec sleep 1000"
    outside = subprocess.Popen(["unshare", "--mount", "sh", "-c", elsewhere])  # like another machine's lab
    unmake_cluster(WEST)
    assert stray.wait(timeout=5) == -9
    assert clusters_up() == ["east"]
    make()
    STATE.joinpath("west").mkdir(exist_ok=True)
    unmake_all()
    unmake_all()
    assert outside.poll() is None
    assert before == (output("ip", "address"), output("ip", "route"), sorted(Path("/run").iterdir()))
    subprocess.run(["ip", "route", "add", "10.213.32.0/20", "dev", "lo"], check=True)
    with pytest.raises(UserError, match=r"10\.213\.32\.0/20"):
        make_hub()


if __name__ == "__main__":
    main()
