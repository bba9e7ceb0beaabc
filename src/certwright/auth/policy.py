"""What may authenticate, and how tightly it must be tied to its TLS connection: the administrator's choice.

Extended Protection for Authentication: [MS-NLMP] 3.2.5.1.2, RFC 5929, RFC 9110 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Self

from certwright.adcs.errors import ConfigurationError


class ChannelBinding(Enum):
    """What is asked of the binding between an authentication and its TLS connection.

    Without it, somebody whom a client logs on to can pass the messages on to us and be that client here (relay).
    """

    OFF = "off"
    """Neither bindings nor target names are looked at."""
    ALLOW = "allow"
    """What the client sends must be right; a client that sends nothing is let in."""
    REQUIRE = "require"
    """The client must send the right binding, and NTLM messages a MIC unless `needs_mic` is off."""


class Binding(Enum):
    """What was found about one authentication's binding; stands in the log."""

    MATCHED = "matched"
    ABSENT = "absent"
    UNCHECKED = "unchecked"
    NOT_NEEDED = "not needed"
    """Basic: the password itself went through our TLS connection, there is nothing to relay."""


class Scheme(Enum):
    """HTTP authentication schemes, in the order in which they are offered: the strongest first, as IIS does."""

    NEGOTIATE = "Negotiate"
    NTLM = "NTLM"
    BASIC = "Basic"


@dataclass(frozen=True, slots=True)
class AuthenticationPolicy:
    """What is accepted. Without `Scheme.NTLM` there is no NTLM at all, not inside Negotiate either."""

    channel_binding: ChannelBinding = ChannelBinding.REQUIRE
    schemes: frozenset[Scheme] = frozenset(Scheme)
    realm: str = ""  # of Basic; empty: the DNS name of the domain
    needs_mic: bool = True
    """Where bindings are required: whether NTLM without a MIC is refused. [MS-NLMP] 3.1.5.1.2 obliges clients to send
    one; some bind and send none. The binding stands under the proof of the password, so nobody can take it out."""

    @classmethod
    def from_settings(
        cls,
        channel_binding: str,
        *,
        ntlm: bool = True,
        negotiate: bool = True,
        basic: bool = True,
        ntlm_mic: bool = True,
    ) -> Self:
        """The policy that a CA's settings `channel-binding`, `ntlm`, `negotiate`, `basic` and `ntlm-mic` mean.

        Raises:
            ConfigurationError: `channel_binding` is not off, allow or require.
        """
        try:
            wanted = ChannelBinding(channel_binding.strip().lower())
        except ValueError as error:
            raise ConfigurationError(
                f"channel-binding={channel_binding} is unknown: set it to off, allow or require"
            ) from error
        switches = {Scheme.NEGOTIATE: negotiate, Scheme.NTLM: ntlm, Scheme.BASIC: basic}
        schemes = frozenset(scheme for scheme, is_on in switches.items() if is_on)
        return cls(wanted, schemes, needs_mic=ntlm_mic)

    def admits(self, binding: Binding) -> bool:
        """Whether an authentication with this binding may stand."""
        return self.channel_binding is not ChannelBinding.REQUIRE or binding in (Binding.MATCHED, Binding.NOT_NEEDED)
