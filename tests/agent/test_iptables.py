import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.agent.iptables import families_here
from isthmus.agent.rules import IPV4, IPV6, Family

LOOPBACK = "00000000000000000000000000000001 01 80 10 80       lo\n"
LINK_LOCAL = "fe80000000000000b84ff1fffe5d0c4a 02 40 20 80     eth0\n"
GLOBAL = "fd990000000000000000000000000002 02 40 00 80     eth0\n"


@pytest.mark.parametrize(
    ("addresses", "families"),
    [
        ("", [IPV4]),
        (LOOPBACK + LINK_LOCAL, [IPV4]),
        (LOOPBACK + LINK_LOCAL + GLOBAL, [IPV4, IPV6]),
    ],
)
def test_ipv6_counts_when_the_pod_can_be_reached_by_it(
    addresses: str, families: list[Family], tmp_path: Path
) -> None:
    file = tmp_path / "if_inet6"
    file.write_text(addresses)
    assert families_here(file) == families


def test_a_kernel_without_ipv6_has_none(tmp_path: Path) -> None:
    assert families_here(tmp_path / "missing") == [IPV4]


def init(*arguments: str, path: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "isthmus.cli.main", "init", *arguments]
    environment = {"PATH": path, "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_an_image_without_iptables_is_said_in_one_sentence(tmp_path: Path) -> None:
    done = init(path=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("isthmus: The rules for IPv4 could not be written: no such program")


def test_every_variant_is_tried_and_what_each_said_is_told(tmp_path: Path) -> None:
    for variant in ("", "-nft", "-legacy"):
        for action in ("save", "restore"):
            program = tmp_path / f"iptables{variant}-{action}"
            program.write_text(f"#!/bin/sh\necho 'Permission denied by {variant or 'plain'}' >&2\nexit 4\n")
            program.chmod(0o755)
    done = init(path=str(tmp_path))
    assert done.returncode == 1
    for variant in ("plain", "-nft", "-legacy"):
        assert f"Permission denied by {variant}" in done.stderr


def test_a_variant_that_works_after_one_that_does_not_is_used(tmp_path: Path) -> None:
    (tmp_path / "iptables-save").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "iptables-legacy-save").write_text("#!/bin/sh\n")
    (tmp_path / "iptables-restore").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "iptables-legacy-restore").write_text(f"#!/bin/sh\n/bin/cat > {tmp_path}/applied\n")
    (tmp_path / "ip6tables-save").write_text("#!/bin/sh\n")
    (tmp_path / "ip6tables-restore").write_text("#!/bin/sh\n")
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    done = init(path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "-A PREROUTING -p tcp -j ISTIO_INBOUND\n" in (tmp_path / "applied").read_text()


def test_a_wrong_port_is_refused_by_its_option(tmp_path: Path) -> None:
    done = init("--exclude-inbound-ports=ssh", path=str(tmp_path))
    assert done.returncode == 1
    assert "--exclude-inbound-ports: 'ssh' is no port" in done.stderr
