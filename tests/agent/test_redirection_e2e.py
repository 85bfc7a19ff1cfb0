"""`isthmus init` in a real network namespace: which connection ends at which listener."""

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

PEER_SCRIPT = str(Path(__file__).with_name("netns_peer.py"))
INBOUND, OUTBOUND = 15006, 15001
APP, EXCLUDED_IN, EXCLUDED_OUT = 8080, 2222, 3306
OPTIONS = [
    f"--exclude-inbound-ports={EXCLUDED_IN}",
    f"--exclude-outbound-ports={EXCLUDED_OUT}",
    "--exclude-outbound-ranges=10.99.2.0/24,fd99:2::/64",
]
ROOT, ENVOY, ENVOYS_GROUP = (0, 0), (1337, 1337), (1000, 1337)


@dataclass(frozen=True)
class Net:
    """A pod and its peer, joined by one link. `outside` and `excluded` are addresses of the peer."""

    pod_netns: str
    peer_netns: str
    pod: str
    outside: str
    excluded: str
    loopback: str

    def asks(self, netns: str, host: str, port: int, who: tuple[int, int] = ROOT) -> str:
        """The listener that answers, and the destination that it was told."""
        command = [sys.executable, PEER_SCRIPT, "connect", host, str(port), *map(str, who)]
        return run("ip", "netns", "exec", netns, *command).strip()

    def told(self, host: str, port: int) -> str:
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def init(netns: str, *options: str) -> None:
    run(
        "ip", "netns", "exec", netns, sys.executable, "-m", "isthmus.cli.main", "init", "--anywhere", *options
    )


def rules(netns: str) -> list[str]:
    """Both families' nat tables, without counters and comments."""
    saved = "".join(
        run("ip", "netns", "exec", netns, f"{name}-save", "-t", "nat") for name in ("iptables", "ip6tables")
    )
    return [line for line in saved.splitlines() if line.startswith(("-A", ":ISTIO"))]


@contextmanager
def namespaces(pod: str, peer: str) -> Generator[tuple[str, str]]:
    with ExitStack() as stack:
        for name in (pod, peer):
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "del", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", pod, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", peer)
        for name, addresses in (
            (pod, ["10.99.0.2/24", "fd99::2/64"]),
            (
                peer,
                [
                    "10.99.0.1/24",
                    "10.99.1.1/32",
                    "10.99.2.1/32",
                    "fd99::1/64",
                    "fd99:1::1/128",
                    "fd99:2::1/128",
                ],
            ),
        ):
            run("ip", "-n", name, "link", "set", "eth0", "up")
            for address in addresses:
                extra = ["nodad"] if ":" in address else []
                run("ip", "-n", name, "address", "add", address, "dev", "eth0", *extra)
        run("ip", "-n", pod, "route", "add", "default", "via", "10.99.0.1")
        run("ip", "-n", pod, "-6", "route", "add", "default", "via", "fd99::1")
        yield pod, peer


@contextmanager
def listening(netns: str, host: str, *ports: int) -> Generator[None]:
    command = ["ip", "netns", "exec", netns, sys.executable, PEER_SCRIPT, "listen", host, *map(str, ports)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
            yield
        finally:
            process.kill()


@pytest.fixture(scope="module", autouse=True)
def root() -> None:
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("the redirection test needs root, to make network namespaces")
        pytest.skip("NOT TESTED: real redirection needs root; run the tests as root")


@pytest.fixture(scope="module")
def namespaces_with_rules(root: None) -> Iterator[tuple[str, str]]:
    names = (f"isthmus-test-{os.getpid()}-{name}" for name in ("pod", "peer"))
    with namespaces(*names) as (pod, peer), ExitStack() as stack:
        for wildcard in ("0.0.0.0", "::"):
            stack.enter_context(listening(pod, wildcard, INBOUND, OUTBOUND, APP, EXCLUDED_IN))
            stack.enter_context(listening(peer, wildcard, 80, EXCLUDED_OUT))
        init(pod, *OPTIONS)
        yield pod, peer


@pytest.fixture(params=["ipv4", "ipv6"])
def net(request: pytest.FixtureRequest, namespaces_with_rules: tuple[str, str]) -> Net:
    if request.param == "ipv4":
        return Net(*namespaces_with_rules, "10.99.0.2", "10.99.1.1", "10.99.2.1", "127.0.0.1")
    return Net(*namespaces_with_rules, "fd99::2", "fd99:1::1", "fd99:2::1", "::1")


def test_what_comes_in_goes_to_envoy_with_its_destination(net: Net) -> None:
    assert net.asks(net.peer_netns, net.pod, APP) == f"{INBOUND} {net.told(net.pod, APP)}"


def test_an_excluded_inbound_port_reaches_the_application(net: Net) -> None:
    assert net.asks(net.peer_netns, net.pod, EXCLUDED_IN).startswith(f"{EXCLUDED_IN} ")


def test_what_the_application_sends_goes_to_envoy_with_its_destination(net: Net) -> None:
    assert net.asks(net.pod_netns, net.outside, 80) == f"{OUTBOUND} {net.told(net.outside, 80)}"


@pytest.mark.parametrize("who", [ENVOY, ENVOYS_GROUP], ids=["user", "group"])
def test_what_envoy_sends_goes_out(net: Net, who: tuple[int, int]) -> None:
    assert net.asks(net.pod_netns, net.outside, 80, who).startswith("80 ")


def test_envoy_calling_its_own_pod_arrives_as_inbound(net: Net) -> None:
    assert net.asks(net.pod_netns, net.pod, APP, ENVOY) == f"{INBOUND} {net.told(net.pod, APP)}"


def test_the_application_reaches_itself_without_envoy(net: Net) -> None:
    assert net.asks(net.pod_netns, net.pod, APP).startswith(f"{APP} ")
    assert net.asks(net.pod_netns, net.loopback, APP).startswith(f"{APP} ")


def test_envoy_reaches_the_application_on_loopback(net: Net) -> None:
    assert net.asks(net.pod_netns, net.loopback, APP, ENVOY).startswith(f"{APP} ")


def test_excluded_ports_and_ranges_go_out_untouched(net: Net) -> None:
    assert net.asks(net.pod_netns, net.outside, EXCLUDED_OUT).startswith(f"{EXCLUDED_OUT} ")
    assert net.asks(net.pod_netns, net.excluded, 80).startswith("80 ")


def test_doing_it_again_changes_nothing_and_cleaning_leaves_nothing() -> None:
    with namespaces(f"isthmus-test-{os.getpid()}-a", f"isthmus-test-{os.getpid()}-b") as (pod, _):
        run(
            "ip",
            "netns",
            "exec",
            pod,
            "iptables",
            "-t",
            "nat",
            "-A",
            "PREROUTING",
            "-p",
            "udp",
            "-j",
            "ACCEPT",
        )
        before = rules(pod)
        init(pod, *OPTIONS)
        once = rules(pod)
        init(pod)
        init(pod, *OPTIONS)
        assert rules(pod) == once
        assert len(once) > 40
        init(pod, "--clean")
        assert rules(pod) == before
        init(pod, "--clean")
