from ipaddress import ip_network

import pytest

from isthmus.config.redirection import ANNOTATIONS, Redirection, redirection_from
from isthmus.lib.errors import UserError


def test_nothing_said_redirects_everything() -> None:
    assert redirection_from({}, ANNOTATIONS) == Redirection()


def test_lists_are_read_with_spaces_and_stray_commas() -> None:
    redirection = redirection_from(
        {"exclude_outbound_ports": " 3306, 5432,", "include_outbound_ranges": "10.0.0.0/8, fd00::/8"},
        ANNOTATIONS,
    )
    assert redirection.exclude_outbound_ports == (3306, 5432)
    assert redirection.include_outbound_ranges == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def test_an_empty_inclusion_means_nothing_of_that_direction() -> None:
    redirection = redirection_from({"include_inbound_ports": "", "include_outbound_ranges": ""}, ANNOTATIONS)
    assert redirection.include_inbound_ports == ()
    assert redirection.include_outbound_ranges == ()


def test_a_single_address_is_a_range_and_host_bits_are_cut() -> None:
    redirection = redirection_from({"exclude_outbound_ranges": "10.1.2.3,10.1.2.3/8"}, ANNOTATIONS)
    assert redirection.exclude_outbound_ranges == (ip_network("10.1.2.3/32"), ip_network("10.0.0.0/8"))


def test_arguments_say_the_same() -> None:
    texts = {
        "include_inbound_ports": "80,443",
        "exclude_inbound_ports": "22",
        "include_outbound_ports": "9000",
        "exclude_outbound_ports": "3306",
        "include_outbound_ranges": "10.0.0.0/8",
        "exclude_outbound_ranges": "10.1.0.0/16,fd00::/8",
    }
    arguments = redirection_from(texts, ANNOTATIONS).arguments()
    assert arguments == [f"--{field.replace('_', '-')}={text}" for field, text in texts.items()]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("exclude_inbound_ports", "http"),
        ("exclude_inbound_ports", "0"),
        ("include_inbound_ports", "*,80"),
        ("exclude_outbound_ports", "65536"),
        ("exclude_outbound_ranges", "*"),
        ("include_outbound_ranges", "10.0.0.0/33"),
        ("include_outbound_ranges", "example.com"),
    ],
)
def test_what_is_no_port_or_range_is_refused_by_the_name_a_person_knows(field: str, text: str) -> None:
    with pytest.raises(UserError, match=ANNOTATIONS[field]):
        redirection_from({field: text}, ANNOTATIONS)
