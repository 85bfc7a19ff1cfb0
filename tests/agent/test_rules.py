from isthmus.agent.rules import IPV4, IPV6, derive_removal, derive_restore, derive_rules
from isthmus.config.redirection import Redirection, redirection_from


def redirection(**texts: str) -> Redirection:
    return redirection_from(texts, {field: field for field in texts})


def output_rules(**texts: str) -> list[str]:
    rules = derive_rules(redirection(**texts), IPV4)
    return [rule.removeprefix("-A ISTIO_OUTPUT ") for rule in rules if rule.startswith("-A ISTIO_OUTPUT ")]


def inbound_rules(**texts: str) -> list[str]:
    rules = derive_rules(redirection(**texts), IPV4)
    return [rule.removeprefix("-A ISTIO_INBOUND ") for rule in rules if rule.startswith("-A ISTIO_INBOUND ")]


def test_the_rules_of_a_pod_without_annotations_are_istios() -> None:
    assert derive_rules(Redirection(), IPV4) == [
        "-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN",
        "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
        "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        "-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN",
        "-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN",
        "-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN",
        "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
        "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
        "-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN",
        "-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp ! --dport 15008 -m owner --uid-owner 1337"
        " -j ISTIO_IN_REDIRECT",
        "-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN",
        "-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN",
        "-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp ! --dport 15008 -m owner --gid-owner 1337"
        " -j ISTIO_IN_REDIRECT",
        "-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN",
        "-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN",
        "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN",
        "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
    ]


def test_excluded_inbound_ports_join_those_of_the_sidecar_once_each() -> None:
    returned = [rule for rule in inbound_rules(exclude_inbound_ports="22,15021") if rule.endswith("RETURN")]
    assert [rule.split()[3] for rule in returned] == ["15008", "15090", "15021", "15020", "22"]


def test_listed_inbound_ports_are_all_that_is_redirected() -> None:
    assert inbound_rules(include_inbound_ports="80,443", exclude_inbound_ports="443")[1:] == [
        "-p tcp --dport 80 -j ISTIO_IN_REDIRECT",
        "-p tcp --dport 443 -j ISTIO_IN_REDIRECT",
    ]


def test_no_inbound_ports_leave_the_way_in_alone() -> None:
    assert not any("PREROUTING" in rule for rule in derive_rules(redirection(include_inbound_ports=""), IPV4))


def test_excluded_outbound_ports_come_before_everything_else() -> None:
    assert output_rules(exclude_outbound_ports="3306,5432")[:2] == [
        "-p tcp --dport 3306 -j RETURN",
        "-p tcp --dport 5432 -j RETURN",
    ]


def test_included_ranges_are_redirected_excluded_ones_first_left_and_the_rest_returns() -> None:
    rules = output_rules(
        include_outbound_ranges="10.0.0.0/8",
        exclude_outbound_ranges="10.9.0.0/16",
        include_outbound_ports="9000",
    )
    assert rules[-4:] == [
        "-d 10.9.0.0/16 -j RETURN",
        "-p tcp --dport 9000 -j ISTIO_REDIRECT",
        "-d 10.0.0.0/8 -j ISTIO_REDIRECT",
        "-j RETURN",
    ]


def test_no_outbound_ranges_redirect_nothing_out() -> None:
    assert output_rules(include_outbound_ranges="")[-1] == "-j RETURN"
    assert not any("-j ISTIO_REDIRECT" in rule for rule in output_rules(include_outbound_ranges=""))


def test_each_family_gets_its_own_loopback_and_ranges() -> None:
    both = redirection(exclude_outbound_ranges="10.0.0.0/8,fd00::/8")
    four, six = "\n".join(derive_rules(both, IPV4)), "\n".join(derive_rules(both, IPV6))
    assert "10.0.0.0/8" in four
    assert "fd00::/8" not in four
    assert "fd00::/8" in six
    assert "-d ::1/128" in six
    assert "-s ::6/128 -o lo" in six
    assert "127.0.0" not in six


SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:ISTIO_INBOUND - [0:0]
:ISTIO_OLD - [0:0]
:OTHER - [0:0]
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A PREROUTING -j OTHER
-A OUTPUT -p tcp -m comment --comment "-j ISTIO_X here" -j OTHER
-A ISTIO_INBOUND -p tcp -j ISTIO_OLD
COMMIT
"""


def test_a_restore_empties_our_chains_and_replaces_earlier_jumps_in_one_transaction() -> None:
    text = derive_restore(["-A PREROUTING -p tcp -j ISTIO_INBOUND"], SAVED)
    assert text.splitlines() == [
        "*nat",
        ":ISTIO_INBOUND - [0:0]",
        ":ISTIO_REDIRECT - [0:0]",
        ":ISTIO_IN_REDIRECT - [0:0]",
        ":ISTIO_OUTPUT - [0:0]",
        "-D PREROUTING -p tcp -j ISTIO_INBOUND",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        "COMMIT",
    ]


def test_a_removal_takes_out_all_istio_chains_and_nothing_else() -> None:
    assert derive_removal(SAVED).splitlines() == [
        "*nat",
        ":ISTIO_INBOUND - [0:0]",
        ":ISTIO_OLD - [0:0]",
        "-D PREROUTING -p tcp -j ISTIO_INBOUND",
        "-X ISTIO_INBOUND",
        "-X ISTIO_OLD",
        "COMMIT",
    ]
