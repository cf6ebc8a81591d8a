from __future__ import annotations

import ipaddress

import pytest

from core.domain.errors import AddressRefused, NameUnresolved, Unusable
from core.webhooks.address import REFUSED, addresses_of, is_public, read_allowed, system_resolver, target_of

NOTHING = read_allowed("")
PUBLIC = "93.184.216.34"


def resolved_to(*addresses: str) -> list[str]:
    """Return what a call to a name with these addresses would connect to."""
    return addresses_of(target_of("https://hooks.example.org/x"), allowed=NOTHING, resolve=lambda *_: list(addresses))


def refused(url: str) -> str:
    """Return the sentence with which a URL is refused, without asking anybody."""

    def nobody(name: str, port: int) -> list[str]:
        raise AssertionError(f"{name}:{port} was looked up")

    with pytest.raises(AddressRefused) as error:
        addresses_of(target_of(url), allowed=NOTHING, resolve=nobody)
    return error.value.detail


def test_a_public_name_leads_to_its_addresses_in_their_order() -> None:
    both = ["2606:2800:220:1:248:1893:25c8:1946", PUBLIC]
    assert resolved_to(*both) == both


@pytest.mark.parametrize("url", [f"https://{PUBLIC}/", "https://[2606:2800:220:1:248:1893:25c8:1946]:8443/hook"])
def test_a_public_address_needs_no_name(url: str) -> None:
    assert len(addresses_of(target_of(url), allowed=NOTHING, resolve=lambda *_: [])) == 1


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",  # noqa: S104 - refused here, bound nowhere
        "0.1.2.3",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:93.184.216.34",
        "::ffff:0:7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001::1",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "3fff::1",
        "100::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "2606:2800:220:1::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_what_is_not_public_is_refused_alone_and_among_public_ones(address: str) -> None:
    for answer in ([address], [PUBLIC, address], [address, PUBLIC]):
        with pytest.raises(AddressRefused, match="private or reserved"):
            resolved_to(*answer)
    host = f"[{address}]" if ":" in address else address
    if "%" not in address:
        refused(f"https://{host}/")


@pytest.mark.parametrize("network", REFUSED, ids=str)
def test_every_refused_network_is_refused_from_its_first_address_to_its_last(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> None:
    assert not is_public(network[0])
    assert not is_public(network[-1])


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "1.2.3.4.5",
        "256.256.256.256",
        "127.0.0.1.",
        "0x",
        "example.org.",
        "example.0x7f",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "ⓔxample.org",
        "exa mple.org",
        "example..org",
        "-example.org",
        "%31%32%37.0.0.1",
        "[::1%25eth0]",
        "[fe80::1%eth0]",
        "[v1.x]",
        "[]",
        "",
    ],
)
def test_a_host_in_any_but_the_standard_spelling_is_refused_before_it_is_looked_up(host: str) -> None:
    refused(f"https://{host}/hook")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "//example.org/",
        "example.org",
        "https:example.org",
        "https:///example.org",
        "javascript:alert(1)",
        "https://user@example.org/",
        "https://user:word@example.org/",
        "https://@example.org/",
        "https://example.org#@internal/",
        "https://example.org\\@internal/",
        "https://example.org/\r\nHost: internal",
        "https://example.org/\t",
        "https://example.org:0/",
        "https://example.org:65536/",
        "https://example.org:port/",
        "https://example.org/#part",
        "https://example.org/" + "x" * 2000,
    ],
)
def test_what_is_no_plain_https_url_is_refused_and_not_repeated(url: str) -> None:
    if url == "http://example.org/":
        with pytest.raises(AddressRefused, match="https"):
            addresses_of(target_of(url), allowed=NOTHING, resolve=lambda *_: [PUBLIC])
        return
    sentence = refused(url)
    assert "example" not in sentence
    assert "word" not in sentence.replace("password", "")


def test_the_parts_of_a_url_are_used_as_they_were_read() -> None:
    target = target_of("https://Hooks.Example.org:8443/a/%2e%2e/b?token=x&y")
    assert (target.host, target.port, target.path) == ("hooks.example.org", 8443, "/a/%2e%2e/b?token=x&y")
    assert target.authority == "hooks.example.org:8443"
    assert target_of("https://example.org?x=1").path == "/?x=1"
    assert target_of("https://[2606:2800::1]/").authority == "[2606:2800::1]"


def test_a_name_that_leads_nowhere_says_so() -> None:
    def fails(name: str, port: int) -> list[str]:
        raise OSError(name, port)

    with pytest.raises(NameUnresolved):
        addresses_of(target_of("https://nowhere.example.org"), allowed=NOTHING, resolve=fails)
    with pytest.raises(NameUnresolved):
        resolved_to()


def test_a_name_that_turns_private_after_it_was_looked_at_is_refused_the_next_time() -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    target = target_of("https://rebind.example.org/")

    def rebinding(name: str, port: int) -> list[str]:  # noqa: ARG001 - a resolver's shape
        return next(answers)

    assert addresses_of(target, allowed=NOTHING, resolve=rebinding) == [PUBLIC]
    with pytest.raises(AddressRefused):
        addresses_of(target, allowed=NOTHING, resolve=rebinding)


def test_an_operator_may_let_networks_and_names_through_even_without_tls() -> None:
    allowed = read_allowed("10.1.0.0/16, fd00:1::/32,Governance.internal")
    for url, address in (
        ("https://10.1.2.3/", "10.1.2.3"),
        ("http://10.1.2.3:8080/", "10.1.2.3"),
        ("http://[fd00:1::5]/", "fd00:1::5"),
        ("http://governance.internal/", "192.168.0.9"),
        ("http://elsewhere.internal/", "10.1.9.9"),
    ):
        found = addresses_of(target_of(url), allowed=allowed, resolve=lambda *_, found=address: [found])
        assert found == [address]
    for url in ("https://10.2.0.1/", "https://[::ffff:10.1.2.3]/", "http://93.184.216.34/", "https://[fd00:2::1]/"):
        with pytest.raises(AddressRefused):
            addresses_of(target_of(url), allowed=allowed, resolve=lambda *_: [])
    with pytest.raises(AddressRefused):
        addresses_of(target_of("https://x.governance.internal/"), allowed=allowed, resolve=lambda *_: ["192.168.0.9"])


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "https://example.org", "a b", "127.1", "*.example.org", "example.org:443"]
)
def test_an_entry_that_is_neither_network_nor_name_is_a_sentence_at_the_start(text: str) -> None:
    with pytest.raises(Unusable, match="LETHE_WEBHOOK_ALLOWED"):
        read_allowed(f"10.0.0.0/8,{text}")


def test_the_operating_system_is_asked_once_and_answers_in_text() -> None:
    found = system_resolver("localhost", 443)
    assert found
    assert all(ipaddress.ip_address(text).is_loopback for text in found)
