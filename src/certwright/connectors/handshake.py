"""The client's side of a logon, token by token: NTLMv2, and Kerberos inside SPNEGO.

[MS-NLMP] 3.1.5.1, RFC 4121, RFC 4178. pyspnego makes the tokens; which mechanism is used is decided here and nothing
can fall back to another one: a password becomes an NT hash for NTLM, which fits nothing else, and Kerberos stands
alone in its list of mechanisms.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any, Final, Protocol

import spnego
from spnego.channel_bindings import GssChannelBindings

from certwright.adcs.errors import ConfigurationError
from certwright.connectors.errors import LogonCause, LogonRefused
from certwright.connectors.service import ServiceCredential
from certwright.directory.nt_hash import nt_hash
from certwright.pki import oids
from certwright.wire.ntlm import AuthenticateMessage, MessageType, message_type
from certwright.wire.spnego import NegState, NegTokenInit, NegTokenResp

logging.getLogger("spnego").setLevel(logging.WARNING)  # below that it writes every token into the log

_SERVICE: Final = "HTTP"
_NTLMV1_RESPONSE: Final = 24


class Initiator(Protocol):
    """One side of a handshake; tokens without their base64."""

    scheme: str

    def first(self) -> bytes: ...

    def next(self, received: bytes) -> bytes | None:
        """The answer to a token, None when there is nothing left to say."""

    @property
    def is_spent(self) -> bool:
        """Whether the credential was shown: a refusal from now on is about the account or the binding."""


class NtlmInitiator:
    """NTLMv2 by pyspnego, bare or inside SPNEGO. Never the Kerberos of this machine: the NT hash fits NTLM alone."""

    def __init__(
        self, scheme: str, hostname: str, credential: ServiceCredential, bindings: GssChannelBindings
    ) -> None:
        self.scheme = scheme
        bare = scheme.lower() == "ntlm"
        account = spnego.NTLMHash(credential.logon_name, nt_hash=nt_hash(str(credential.secret)).hex())
        self._context = spnego.client(
            account,
            hostname=hostname,
            service=_SERVICE,
            protocol="ntlm" if bare else "negotiate",
            channel_bindings=bindings,
            options=spnego.NegotiateOptions.use_ntlm if bare else spnego.NegotiateOptions.use_negotiate,
        )
        self.is_spent = False

    def first(self) -> bytes:
        return self._context.step() or b""

    def next(self, received: bytes) -> bytes | None:
        if message_type(received) is None and NegTokenResp.parse(received).state is NegState.REJECT:
            return None
        token = self._context.step(received)
        if token is None:
            return None
        inner = token if message_type(token) is not None else NegTokenResp.parse(token).token or b""
        if message_type(inner) is MessageType.AUTHENTICATE:
            if len(AuthenticateMessage.parse(inner).nt_response) <= _NTLMV1_RESPONSE:
                raise ConfigurationError("LM_COMPAT_LEVEL in the environment asks for NTLMv1; remove it")
            self.is_spent = True
        return token


class KerberosInitiator:
    """A ticket for HTTP/host, in SPNEGO with Kerberos as its only mechanism. RFC 4178.

    By password or keytab; without a credential by the ticket cache, or the client keytab, of this process.
    """

    scheme = "Negotiate"

    def __init__(
        self, hostname: str, credential: ServiceCredential | None, bindings: GssChannelBindings, folder: Path
    ) -> None:
        account: Any = None
        if credential is None:
            pass
        elif isinstance(credential.secret, bytes):
            keytab = folder / "keytab"
            keytab.touch(mode=0o600)
            keytab.write_bytes(credential.secret)
            account = spnego.KerberosKeytab(f"FILE:{keytab}", credential.principal)
        else:
            account = spnego.Password(credential.principal, credential.secret)
        self._context = spnego.client(
            account,
            hostname=hostname,
            service=_SERVICE,
            protocol="kerberos",
            channel_bindings=bindings,
        )
        self.is_spent = False

    def first(self) -> bytes:
        token = self._context.step()
        self.is_spent = True
        return NegTokenInit((oids.KERBEROS,), token).encode()

    def next(self, received: bytes) -> bytes | None:
        inner: bytes | None = received  # some servers answer without SPNEGO around it
        if not received.startswith(b"\x60"):
            answer = NegTokenResp.parse(received)
            inner = None if answer.state is NegState.REJECT else answer.token
        if inner is None or self._context.complete:
            return None
        token = self._context.step(inner)
        return None if token is None else NegTokenResp(token=token).encode()


def require_kerberos() -> None:
    missing = [name for name in ("gssapi", "krb5") if importlib.util.find_spec(name) is None]
    if missing:
        raise LogonRefused(
            f"Kerberos needs the Python packages gssapi and krb5, and {' and '.join(missing)} is not installed",
            "install certwright[kerberos], or choose NTLM for this service",
            LogonCause.NOT_INSTALLED,
        )
