"""Where webhooks may lead: to the internet, and inside only where the installer allowed it.

Whoever may add a webhook could otherwise have this server call services that trust its network: the metadata of a
cloud, a database on loopback (server-side request forgery). So every address a name stands for is judged, and the
connection goes to exactly that address: a name that answers differently the second time gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Final

from certwright.adcs.errors import ConfigurationError
from certwright.notifications.channels.base import ChannelError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Sequence[str]]

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 2.1


def system_resolver(host: str, port: int) -> Sequence[str]:
    """The addresses of a name. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class Targets:
    """The allow-list.

    Args:
        allowed: host names (`hooks.corp.example`) and networks (`10.1.0.0/16`) that may be called although they
            are not public.

    Raises:
        ConfigurationError: an entry is neither.
    """

    def __init__(self, allowed: Sequence[str] = (), resolver: Resolver = system_resolver) -> None:
        self._networks: list[IpNetwork] = []
        self._hosts: set[str] = set()
        self._resolver = resolver
        for text in allowed:
            self._add(text.strip())

    def _add(self, text: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            name = text.rstrip(".").lower()
            if "/" in name or not name or not all(part.isascii() and part for part in name.split(".")):
                raise ConfigurationError(
                    f"webhook-allow: {text!r} is neither a host name nor a network such as 10.1.0.0/16"
                ) from None
            self._hosts.add(name)

    def is_listed(self, host: str) -> bool:
        """Is the host on the list by its name, or as an address of a listed network?"""
        if host.rstrip(".").lower() in self._hosts:
            return True
        try:
            return self._in_network(ipaddress.ip_address(host))
        except ValueError:
            return False

    def resolve(self, host: str, port: int) -> str:
        """The address to connect to.

        Raises:
            ChannelError: the name is unknown, or one of its addresses may not be called.
        """
        try:
            found = self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise ChannelError(f"the name {host} cannot be resolved") from error
        if not found:
            raise ChannelError(f"the name {host} cannot be resolved")
        by_name = host.rstrip(".").lower() in self._hosts
        for text in found:
            address = ipaddress.ip_address(text.partition("%")[0])
            if not by_name and not self._in_network(address) and not _is_public(address):
                raise ChannelError(
                    f"{host} leads to {address}, which is not public; if that is meant, add the host or its network"
                    " to webhook-allow in certwright.toml"
                )
        return found[0]

    def _in_network(self, address: IpAddress) -> bool:
        return any(
            inner in network
            for inner in _meant(address)
            for network in self._networks
            if inner.version == network.version
        )


def _meant(address: IpAddress) -> tuple[IpAddress, ...]:
    """The address, and the IPv4 address that an IPv6 one carries inside. RFC 4291 2.5.5.2, 3056, 4380, 6052."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    return (address,)


def _is_public(address: IpAddress) -> bool:
    return all(
        inner.is_global and not inner.is_multicast and not inner.is_reserved and not inner.is_unspecified
        for inner in _meant(address)
    )
