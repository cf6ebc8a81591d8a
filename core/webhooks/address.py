"""The guard before every call out (SSRF): whom this service may send an event to.

A receiver is named by whoever holds an API key, and this service stands inside a private network. So an address must be
a public one, under a plain name or spelled in the one standard way; every address that a name resolves to is looked at;
and the connection goes to an address that was looked at, never to the name again. What an operator lists in
LETHE_WEBHOOK_ALLOWED may be private, and may speak plain HTTP.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.domain.errors import AddressRefused, NameUnresolved, Unusable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Sequence[str]]
"""Returns every address of a name, as text; raises OSError when there is none."""

LONGEST_URL = 2000
PORTS = {"https": 443, "http": 80}
_NAME = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

REFUSED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own; 100.100.100.200 answers with a cloud's credentials
        "127.0.0.0/8",
        "168.63.129.16/32",  # a public number that is a cloud's own host, seen from inside it
        "169.254.0.0/16",  # link-local; 169.254.169.254 answers with a cloud's credentials
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
        "::/96",  # unspecified, loopback, and IPv4 in disguise
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64: the last four bytes are an IPv4 address of the translator's network
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in the middle
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",  # private; fd00:ec2::254 answers with a cloud's credentials
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
"""Written out, because what the standard library calls global has changed from release to release."""


@dataclass(frozen=True)
class Allowed:
    """What an operator lets through in spite of all rules: networks, and names wherever they lead."""

    networks: tuple[IPNetwork, ...] = ()
    names: frozenset[str] = frozenset()

    def covers(self, address: IPAddress) -> bool:
        return any(address.version == network.version and address in network for network in self.networks)


@dataclass(frozen=True)
class Target:
    """The parts of a receiver's URL, each as it is used."""

    scheme: str
    host: str
    """A name in lower case, or an IP address without brackets."""
    port: int
    path: str
    """Path and query, as they were given."""

    @property
    def authority(self) -> str:
        """What stands in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def read_allowed(text: str) -> Allowed:
    """Read LETHE_WEBHOOK_ALLOWED: networks and host names, separated by commas.

    Raises:
        Unusable: an entry is neither.
    """
    networks, names = [], set()
    for entry in (part.strip().lower() for part in text.split(",") if part.strip()):
        try:
            networks.append(ipaddress.ip_network(entry, strict=False))
        except ValueError:
            if not _NAME.fullmatch(entry) or _ends_in_a_number(entry):
                raise Unusable("LETHE_WEBHOOK_ALLOWED holds an entry that is neither a network nor a name") from None
            names.add(entry)
    return Allowed(tuple(networks), frozenset(names))


def target_of(url: str) -> Target:
    """Take a URL apart.

    Raises:
        AddressRefused: it is no URL that events could be sent to; the sentence does not repeat it.
    """
    if len(url) > LONGEST_URL or not all("!" <= letter <= "~" for letter in url) or "\\" in url:
        raise AddressRefused(f"a URL has at most {LONGEST_URL} plain characters; write a name as xn--… if need be")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise AddressRefused("this is no URL") from None
    if parts.scheme not in PORTS or port == 0:
        raise AddressRefused("the URL must begin with https://, and its port must be one")
    if "@" in parts.netloc or parts.fragment:
        raise AddressRefused("a URL with a user name, a password or a fragment is not taken")
    plain = _NAME.fullmatch(host) and not _ends_in_a_number(host) and "[" not in parts.netloc
    if not (plain or _literal(host)):
        raise AddressRefused("the URL's host is neither a name nor an IP address in its standard spelling")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or PORTS[parts.scheme], path)


def addresses_of(target: Target, *, allowed: Allowed, resolve: Resolver) -> list[str]:
    """Return the addresses to connect to, in order of preference, after looking at all of them.

    Raises:
        NameUnresolved: the name leads nowhere.
        AddressRefused: one of its addresses is not to be called, or plain HTTP is asked for where it is not allowed.
    """
    found = [target.host] if _literal(target.host) else list(_resolved(target, resolve))
    if target.host in allowed.names:
        return found
    for text in found:
        address = _parsed(text)
        if allowed.covers(address):
            continue
        if target.scheme != "https":
            raise AddressRefused("the URL must begin with https://")
        if not is_public(address):
            raise AddressRefused("the URL leads to an address that is private or reserved")
    return found


def is_public(address: IPAddress) -> bool:
    """Whether an address is one of the public Internet's, in every way of looking at it."""
    if getattr(address, "scope_id", None) or not address.is_global or address.is_multicast:
        return False
    return not any(address.version == network.version and address in network for network in REFUSED)


def system_resolver(name: str, port: int) -> list[str]:
    """Ask the operating system, once."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _resolved(target: Target, resolve: Resolver) -> Sequence[str]:
    try:
        found = resolve(target.host, target.port)
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise NameUnresolved
    return found


def _literal(host: str) -> IPAddress | None:
    """Return the address that a host is, if it is spelled as the standard has it; octal, short and long forms are not."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if getattr(address, "scope_id", None) else address


def _parsed(text: str) -> IPAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise AddressRefused("the URL's name resolves to something that is no address") from None


def _ends_in_a_number(host: str) -> bool:
    """Whether a resolver might read the host as an IPv4 address: 127.1, 0x7f000001, 2130706433, 0177.0.0.1."""
    return _NUMBER.fullmatch(host.rpartition(".")[2]) is not None
