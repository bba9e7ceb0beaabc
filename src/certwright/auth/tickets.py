"""Kerberos tickets opened with a keytab, by GSSAPI. RFC 4120, RFC 4121, RFC 2743 2.2.2; [MS-KILE] 3.3.4.6.

python-gssapi over MIT Kerberos, imported late: an installation without a domain needs neither. A ticket is opened
with the keys of `HTTP/...` principals alone, by default those of AES; each is remembered in a replay cache, so that
none is taken twice. No domain controller is asked: key and PAC signature are checked with the keytab.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import structlog

from certwright.adcs.errors import ConfigurationError
from certwright.auth.keytab import AES, RC4
from certwright.auth.mechanism import Integrity, Refused

log = structlog.get_logger(__name__)

CHANNEL_BOUND: Final = 0x800
"""GSS_C_CHANNEL_BOUND_FLAG: the client sent bindings and they are ours. MIT Kerberos sets it since 1.19."""
_ANONYMOUS: Final = 0x40  # GSS_C_ANON_FLAG

_SERVICE: Final = "HTTP"
_PAC: Final = b"urn:mspac:"
_LOGON_INFO: Final = b"urn:mspac:logon-info"
_KRB5_BASE: Final = -1765328384  # ERROR_TABLE_BASE_krb5
_EXPLAINED: Final = {
    31: "the keytab's key is not the one the ticket was made with: export the keytab anew",
    32: "the ticket has expired",
    33: "the ticket is not valid yet: compare the clocks",
    34: "the token was used before: a replay",
    35: "the ticket is for a name that the keytab has no key of that version for",
    37: "the clocks of the client and of this host differ by more than five minutes",
    44: "the keytab has no key of the ticket's version: export the keytab anew",
    236: "the ticket or its session uses an encryption that is not allowed here",
}
"""By the number in RFC 4120 7.5.9, and krb5_err.et above 127."""


class WrongBinding(Refused):
    """The client's channel binding is that of none of our certificates."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What an opened ticket says.

    `has_pac` without `logon_info` is a PAC whose signature is wrong or whose first part is missing.
    """

    client: str  # name@REALM
    lifetime: float  # seconds until it ends
    is_bound: bool
    is_anonymous: bool
    has_pac: bool
    logon_info: bytes | None = field(repr=False)  # KERB_VALIDATION_INFO, signature verified
    answer: bytes | None = field(repr=False)
    integrity: Integrity = field(repr=False)


class TicketReader(Protocol):
    """Opens the one token a Kerberos client sends. May read files; never asks the network."""

    @property
    def is_ready(self) -> bool:
        """Whether there is a key to open tickets with: only then Kerberos is offered."""

    def open(self, token: bytes, bindings: Sequence[bytes]) -> Ticket:
        """Without `bindings` whatever the client sent of them is passed over.

        Raises:
            WrongBinding: the client sent one, and it is none of these.
            Refused: the token is no ticket for us, not any more, or was used before.
        """


class _Loaded(NamedTuple):
    mark: tuple[int, int, int]  # of the file it came from
    remembering: Any  # credentials that write the replay cache
    forgetting: Any  # and those that do not


class Keytab:
    """A keytab file as the acceptor's credentials; a new version of the file is noticed by itself.

    Args:
        replay_cache: the file in which used tickets are remembered, shared by the processes of this host.
        allow_rc4: take RC4 too, for accounts that have no AES key yet.
    """

    def __init__(self, path: Path, replay_cache: Path, *, allow_rc4: bool = False) -> None:
        self.path = path
        self._replay_cache = replay_cache
        self._encryptions = sorted(AES | {RC4} if allow_rc4 else AES, reverse=True)
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None
        self._unusable: tuple[tuple[int, int, int], str] | None = None  # the same file is not tried twice
        self._complaint = ""

    @property
    def is_ready(self) -> bool:
        """See `TicketReader`. What is wrong stands in the log, once."""
        try:
            self._credentials()
        except ConfigurationError as error:
            if error.message != self._complaint:
                log.warning("kerberos_not_offered", reason=error.message)
                self._complaint = error.message
            return False
        self._complaint = ""
        return True

    def check(self) -> None:
        """Raises:
        ConfigurationError: python-gssapi is missing, or the keytab has no key of HTTP/ that can be used.
        """
        self._credentials()

    def open(self, token: bytes, bindings: Sequence[bytes]) -> Ticket:
        """See `TicketReader`."""
        try:
            loaded = self._credentials()
        except ConfigurationError as error:
            raise Refused(error.message) from error
        first, *others = bindings or (None,)
        try:
            return _accept(token, loaded.remembering, first)
        except WrongBinding:
            # the ticket is in the replay cache now, as it should be; the certificate of before is tried without
            for binding in others:
                try:
                    return _accept(token, loaded.forgetting, binding)
                except WrongBinding:
                    continue
            raise

    def _credentials(self) -> _Loaded:
        try:
            status = self.path.stat()
        except OSError as error:
            raise ConfigurationError(
                f"the keytab {self.path} cannot be read: {error.strerror}; correct keytab in certwright.toml"
            ) from error
        mark = (status.st_mtime_ns, status.st_ino, status.st_size)
        with self._lock:
            if self._unusable is not None and self._unusable[0] == mark:
                raise ConfigurationError(self._unusable[1])
            if self._loaded is None or self._loaded.mark != mark:
                try:
                    self._loaded = self._load(mark)
                except ConfigurationError as error:
                    self._unusable = (mark, error.message)
                    raise
            return self._loaded

    def _load(self, mark: tuple[int, int, int]) -> _Loaded:
        try:
            import gssapi
            from gssapi.raw import ext_krb5
            from gssapi.raw.misc import GSSError
        except ImportError as error:
            raise ConfigurationError(
                "Kerberos needs the Python package gssapi: install certwright[active-directory]"
            ) from error
        loaded = []
        for cache in (f"file2:{self._replay_cache}", "none:"):
            try:
                credentials = gssapi.Credentials(
                    name=gssapi.Name(_SERVICE, gssapi.NameType.hostbased_service),  # without a host: any HTTP/ key
                    usage="accept",
                    mechs=[gssapi.MechType.kerberos],
                    store={"keytab": f"FILE:{self.path}", "rcache": cache},
                )
                ext_krb5.krb5_set_allowable_enctypes(credentials, self._encryptions)
            except GSSError as error:
                raise ConfigurationError(
                    f"the keytab {self.path} cannot be used: {_text(error)}; it needs a key of {_SERVICE}/ and this "
                    "host's name"
                ) from error
            loaded.append(credentials)
        return _Loaded(mark, *loaded)


def _accept(token: bytes, credentials: Any, binding: bytes | None) -> Ticket:
    """GSS_Accept_sec_context, once. Raw calls, since they raise errors where they happen."""
    from gssapi import raw
    from gssapi.raw.exceptions import BadChannelBindingsError
    from gssapi.raw.misc import GSSError

    bindings = None if binding is None else raw.ChannelBindings(application_data=binding)
    try:
        result = raw.accept_sec_context(token, credentials, channel_bindings=bindings)
        if result.more_steps or result.initiator_name is None:
            raise Refused("Kerberos with more than one token (DCE style) is not taken over HTTP")
        client = raw.display_name(result.initiator_name, name_type=False).name.decode("utf-8", "replace")
        has_pac, logon_info = _pac_of(result.initiator_name)
    except BadChannelBindingsError as error:
        raise WrongBinding(
            "the channel binding is that of another TLS connection: a relay, or a proxy that ends TLS"
        ) from error
    except GSSError as error:
        raise Refused(f"Kerberos: {_explain(error)}") from error
    flags = int(result.flags)
    return Ticket(
        client=client,
        lifetime=float(result.lifetime),
        is_bound=bool(flags & CHANNEL_BOUND),
        is_anonymous=bool(flags & _ANONYMOUS),
        has_pac=has_pac,
        logon_info=logon_info,
        answer=result.token or None,
        integrity=_ContextIntegrity(result.context),
    )


def _pac_of(name: Any) -> tuple[bool, bytes | None]:
    """Whether there is a PAC, and its logon information where the signature is right. RFC 6680 7.3."""
    from gssapi import raw

    attributes = raw.inquire_name(name, mech_name=False).attrs or ()
    if _LOGON_INFO not in attributes:
        return _PAC in attributes, None
    found = raw.get_name_attribute(name, _LOGON_INFO)
    values = list(found.values)
    return True, bytes(values[0]) if found.authenticated and len(values) == 1 else None


class _ContextIntegrity:
    """GSS_GetMIC and GSS_VerifyMIC of an established context. RFC 2743 2.3."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def sign(self, message: bytes) -> bytes:
        from gssapi import raw

        signature: bytes = raw.get_mic(self._context, message)
        return signature

    def verify(self, message: bytes, signature: bytes) -> bool:
        from gssapi import raw
        from gssapi.raw.misc import GSSError

        try:
            raw.verify_mic(self._context, message, signature)
        except GSSError:
            return False
        return True


def _explain(error: Any) -> str:
    """One sentence about a refusal, with the library's own words where there are any."""
    number = int(error.min_code)
    if number >= 1 << 31:
        number -= 1 << 32
    known = _EXPLAINED.get(number - _KRB5_BASE)
    text = _text(error)
    if known is None:
        return text or "the token is malformed or cut off"
    return f"{known} ({text})" if text else known


def _text(error: Any) -> str:
    """What the mechanism says, without the numbers around it; empty where it says nothing of use."""
    words = str(error.gen_message()).rpartition("Minor (")[2].partition("): ")[2].strip()
    return "" if words in ("Success", "Unknown error") else words[:300]
