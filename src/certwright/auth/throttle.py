"""How often somebody may guess. Failures are counted per account and address, per account, and per address.

A throttled attempt is not checked at all: it costs no password hash, and its answer says nothing about the password.
Names that do not exist are counted like those that do. Whoever logged on successfully from an address within the last
day is slowed down there by their own failures only, so that a stranger's guesses lock nobody out.

Memory is bounded; time is monotonic and handed in. Thread-safe.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

WINDOW: Final = 15 * 60.0
"""Seconds without a failure (and without a wait) after which failures are forgotten."""
FAMILIAR_FOR: Final = 24 * 3600.0
CAPACITY: Final = 10_000
"""Entries kept per table; the one untouched for longest goes first."""

_IPV6_NETWORK = 64  # one subscriber has at least as much; single addresses of it mean nothing


@dataclass(frozen=True, slots=True)
class Limit:
    """After `failures` the next attempt has to wait `first_wait` seconds, twice as long after each more."""

    failures: int
    first_wait: float
    longest_wait: float

    def wait_after(self, failures: int) -> float:
        over = failures - self.failures
        return 0.0 if over < 0 else min(self.longest_wait, self.first_wait * 2.0 ** min(over, 32))


ACCOUNT_AND_ADDRESS: Final = Limit(5, 5.0, 15 * 60.0)
ACCOUNT: Final = Limit(50, 5.0, 60.0)  # many addresses guess one account: slow, but the account stays usable
ADDRESS: Final = Limit(50, 5.0, 15 * 60.0)


@dataclass(slots=True)
class _Failures:
    count: int
    last: float
    until: float  # no attempt is checked before


class _Table:
    """Failures by key, under one limit."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def wait(self, key: str, now: float) -> float:
        entry = self._entries.get(key)
        return 0.0 if entry is None else max(0.0, entry.until - now)

    def add(self, key: str, now: float) -> None:
        entry = self._entries.get(key)
        if entry is None or now - max(entry.last, entry.until) > WINDOW:
            entry = self._entries[key] = _Failures(0, now, now)
        entry.count += 1
        entry.last = now
        entry.until = now + self._limit.wait_after(entry.count)
        self._entries.move_to_end(key)
        if len(self._entries) > CAPACITY:
            self._entries.popitem(last=False)

    def forget(self, key: str) -> None:
        self._entries.pop(key, None)


class Throttle:
    """The failures of this process. An account is any stable text: a SID, or a name that nobody has."""

    def __init__(
        self,
        *,
        account_and_address: Limit = ACCOUNT_AND_ADDRESS,
        account: Limit = ACCOUNT,
        address: Limit = ADDRESS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pairs = _Table(account_and_address)
        self._accounts = _Table(account)
        self._addresses = _Table(address)
        self._familiar: OrderedDict[str, float] = OrderedDict()
        self._clock = clock
        self._lock = threading.Lock()

    def wait(self, account: str, peer: str) -> float:
        """Seconds until a logon of this account from this address is checked again; 0 when it may be now."""
        address = _network(peer)
        pair = _pair(account, address)
        with self._lock:
            now = self._clock()
            own = self._pairs.wait(pair, now)
            succeeded = self._familiar.get(pair)
            if succeeded is not None and now - succeeded <= FAMILIAR_FOR:
                return own
            return max(own, self._accounts.wait(account, now), self._addresses.wait(address, now))

    def wait_from(self, peer: str) -> float:
        """Seconds until something that names no account is taken from this address again."""
        address = _network(peer)
        with self._lock:
            return self._addresses.wait(address, self._clock())

    def failed_from(self, peer: str) -> None:
        """Count a logon that was refused before anybody knew whose it was."""
        address = _network(peer)
        with self._lock:
            self._addresses.add(address, self._clock())

    def failed(self, account: str, peer: str) -> None:
        """Count a refused logon."""
        address = _network(peer)
        with self._lock:
            now = self._clock()
            self._pairs.add(_pair(account, address), now)
            self._accounts.add(account, now)
            self._addresses.add(address, now)

    def succeeded(self, account: str, peer: str) -> None:
        """Forget the account's failures from this address. Those of the address stay: one right password is no
        licence to guess another's."""
        pair = _pair(account, _network(peer))
        with self._lock:
            self._pairs.forget(pair)
            self._familiar[pair] = self._clock()
            self._familiar.move_to_end(pair)
            if len(self._familiar) > CAPACITY:
                self._familiar.popitem(last=False)

    @property
    def size(self) -> int:
        """Entries held, of all kinds."""
        return len(self._pairs) + len(self._accounts) + len(self._addresses) + len(self._familiar)


def _pair(account: str, address: str) -> str:
    return f"{address} {account}"


def _network(peer: str) -> str:
    """An IPv4 address, the /64 of an IPv6 address, or the text itself where it is neither."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_NETWORK), strict=False))
