import pytest

from isthmus.lib.address import HostPort, parse_host_port
from isthmus.lib.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:15010", HostPort("127.0.0.1", 15010)),
        ("[::1]:0", HostPort("::1", 0)),
        (":8080", HostPort("0.0.0.0", 8080)),
        ("localhost:1", HostPort("localhost", 1)),
    ],
)
def test_an_address_is_read(text: str, expected: HostPort) -> None:
    assert parse_host_port(text, "--xds-address") == expected


@pytest.mark.parametrize("text", ["", "15010", "host:", "host:x", "host:70000", "::1:15010", "host:-1"])
def test_a_bad_address_names_its_option_and_the_form(text: str) -> None:
    with pytest.raises(UserError, match=r"--xds-address is .* HOST:PORT") as caught:
        parse_host_port(text, "--xds-address")
    assert caught.value.exit_code == 2


def test_an_address_is_printed_as_it_is_written() -> None:
    assert str(HostPort("::1", 80)) == "[::1]:80"
    assert str(HostPort("10.0.0.1", 80)) == "10.0.0.1:80"
