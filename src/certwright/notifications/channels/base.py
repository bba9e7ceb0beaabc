"""What a channel is: something that carries a message now, or says in a sentence why not."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from certwright.adcs.errors import ConfigurationError

CONNECT_TIMEOUT: Final = 10.0
ANSWER_TIMEOUT: Final = 20.0
MAX_SENTENCE: Final = 400


class ChannelError(Exception):
    """A message was not taken. The sentence is for people and holds nothing secret.

    Args:
        unreachable: nobody was there to take it: the next message would fare no better now.
    """

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(printable(message))
        self.unreachable = unreachable


@dataclass(frozen=True, slots=True)
class Message:
    """What is told: for people `subject` and `text`, for programs `document`.

    Args:
        id: the same for every attempt to deliver it, so that receivers can see repetitions.
    """

    id: str
    kind: str
    subject: str
    text: str
    document: Mapping[str, object]
    when: datetime


class Sender(Protocol):
    """A channel, opened with its secret for a while."""

    def send(self, message: Message) -> str:
        """Deliver it, and say who took it.

        Raises:
            ChannelError: it was not taken.
        """


def printable(text: str) -> str:
    """One line of what somebody else said, bounded."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:MAX_SENTENCE]


def verifying_context(ca_pem: str) -> ssl.SSLContext:
    """A TLS client that verifies certificate and name, against `ca_pem` or the system's CAs.

    Raises:
        ConfigurationError: there is no certificate in the PEM text.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not ca_pem:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an issuing CA may be pinned as well as a root
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError, TypeError) as error:  # TypeError: it is not even ASCII
        raise ConfigurationError(
            "the CA file holds no certificate in PEM; export the CA's certificate as Base-64 encoded X.509"
        ) from error
    return context
