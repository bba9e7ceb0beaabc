"""Whether an NTLM authentication was meant for this TLS connection and for us. [MS-NLMP] 3.2.5.1.2, 2.2.2.1.

Both values stand in the target information that the client's proof covers, so they are as authentic as the logon.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from certwright.auth.mechanism import Refused
from certwright.auth.policy import Binding, ChannelBinding
from certwright.pki.channel_binding import gss_channel_bindings_hash
from certwright.wire.ntlm import TargetInfo

NO_TARGET = frozenset({"", "host/unspecified"})
"""Target names of clients that do not know whom they talk to."""


def check_binding(info: TargetInfo, bindings: Iterable[bytes], wanted: ChannelBinding) -> Binding:
    """The client's binding must be that of one of our certificates; all zeroes are none. 2.2.2.1 (10).

    Raises:
        Refused: it is another connection's, or there is none where one is required.
    """
    if wanted is ChannelBinding.OFF:
        return Binding.UNCHECKED
    sent = info.channel_bindings
    if sent is None:
        if wanted is ChannelBinding.REQUIRE:
            raise Refused("the client sent no channel binding, and channel-binding=require")
        return Binding.ABSENT
    if not any(hmac.compare_digest(sent, gss_channel_bindings_hash(binding)) for binding in bindings):
        raise Refused("the channel binding is that of another TLS connection: a relay, or a proxy that ends TLS")
    return Binding.MATCHED


def check_target_name(info: TargetInfo, local_names: Iterable[str], wanted: ChannelBinding) -> None:
    """A target name, where the client sent one, must be HTTP/ and one of our names. 2.2.2.1 (9).

    Raises:
        Refused: the client logged on to somebody else, or to another service.
    """
    if wanted is ChannelBinding.OFF:
        return
    target = info.target_name
    if target.lower() in NO_TARGET:
        return
    service, _, rest = target.partition("/")
    host = host_of(rest.partition("/")[0])
    if service.lower() != "http" or host not in {host_of(name) for name in local_names}:
        raise Refused(f"the client means to talk to {target[:200]!r}, which is not a name of this server")


def host_of(name: str) -> str:
    """A host name or address without its port, its final dot and its case."""
    name = name.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    if name.count(":") == 1:
        name = name.partition(":")[0]
    return name.rstrip(".")
