"""Changing an object together with parts of its nTSecurityDescriptor: a modify with LDAP_SERVER_SD_FLAGS_OID.

[MS-ADTS] 3.1.1.3.4.1.11. Without this control a controller takes the descriptor for a new one in all its parts, owner
and system list included, which takes privileges that a delegated account does not have. bonsai sends the control with
searches only, so these few messages are written here, on a connection of their own: bind, modify, unbind. RFC 4511;
RFC 4752 for Kerberos, with every message encrypted.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final, Protocol

from certwright.adcs.errors import ConfigurationError
from certwright.directory.active_directory.ldap import LdapError, LdapUnavailable, Modification, Operation
from certwright.directory.active_directory.locating import LDAP_PORT, LDAPS_PORT, DomainController
from certwright.directory.active_directory.settings import DomainSettings
from certwright.pki import ber, der
from certwright.pki.errors import EncodingError

SD_FLAGS: Final = "1.2.840.113556.1.4.801"
MAX_ANSWER: Final = 1 << 20

_BIND, _BIND_ANSWER, _UNBIND, _MODIFY, _MODIFY_ANSWER = 0x60, 0x61, 0x42, 0x66, 0x67
_SIMPLE, _SASL, _CONTROLS, _SERVER_CREDENTIALS = 0x80, 0xA3, 0xA0, 0x87
_SUCCESS, _SASL_CONTINUES = 0, 14
_BUSY: Final = (51, 52)  # busy, unavailable
_MECHANISM: Final = "GSSAPI"
_ENCRYPTED: Final = 4  # the security layer that hides and protects. RFC 4752 3.3
_OPERATIONS: Final = {Operation.ADD: 0, Operation.DELETE: 1, Operation.REPLACE: 2}


def modify(
    controller: DomainController,
    settings: DomainSettings,
    dn: str,
    changes: Sequence[Modification],
    sd_flags: int,
    *,
    simple_name: str = "",
) -> None:
    """Change one object as the account of the settings.

    Args:
        sd_flags: the parts of the descriptor that are replaced.
        simple_name: whom to bind with the password over TLS; empty: by Kerberos, with keytab or password.

    Raises:
        LdapUnavailable: the controller does not answer, or does not accept us.
        LdapError: it refuses the change.
    """
    port = controller.port
    if simple_name:
        port = LDAPS_PORT if port == LDAP_PORT else port
    try:
        with contextlib.ExitStack() as closing:
            link = closing.enter_context(socket.create_connection((controller.host, port), settings.timeout))
            if simple_name:
                context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
                link = closing.enter_context(context.wrap_socket(link, server_hostname=controller.host))
            session = _Session(link)
            if simple_name:
                _bind_simply(session, simple_name, settings.password)
            else:
                _bind_with_kerberos(session, controller.host, settings)
            answer = session.ask(_MODIFY, _change(dn, changes), _MODIFY_ANSWER, der.sequence(_control(sd_flags)))
            session.say(_UNBIND, b"")
    except OSError as error:  # ssl.SSLError is one
        raise LdapUnavailable(f"{controller.host}, port {port}: {error}") from error
    except EncodingError as error:
        raise LdapUnavailable(f"{controller.host} answers what is no LDAP: {error}") from error
    answer.demand_success(f"Changing {dn} failed")


def _change(dn: str, changes: Sequence[Modification]) -> bytes:
    """RFC 4511 4.6."""
    listed = (
        der.sequence(
            der.enumerated(_OPERATIONS[change.operation]),
            der.sequence(
                der.octet_string(change.attribute.encode()), der.set_of(*map(der.octet_string, change.values))
            ),
        )
        for change in changes
    )
    return der.octet_string(dn.encode()) + der.sequence(*listed)


def _control(sd_flags: int) -> bytes:
    value = der.sequence(der.integer(sd_flags))
    return der.sequence(der.octet_string(SD_FLAGS.encode()), der.boolean(True), der.octet_string(value))


# -- binding ---------------------------------------------------------------------------------------------------------


def _bind_simply(session: _Session, name: str, password: str) -> None:
    proof = der.tlv(_SIMPLE, password.encode())
    answer = session.ask(_BIND, der.integer(3) + der.octet_string(name.encode()) + proof, _BIND_ANSWER)
    answer.demand_success("The bind was refused")


def _bind_with_kerberos(session: _Session, host: str, settings: DomainSettings) -> None:
    """RFC 4752 3.1."""
    try:
        import gssapi
        from gssapi.raw.misc import GSSError
    except ImportError as error:
        raise ConfigurationError(
            "Kerberos needs the Python package gssapi: install certwright[active-directory]"
        ) from error

    def step(token: bytes) -> _Answer:
        proof = der.tlv(_SASL, der.octet_string(_MECHANISM.encode()) + der.octet_string(token))
        answer = session.ask(_BIND, der.integer(3) + der.octet_string(b"") + proof, _BIND_ANSWER)
        if answer.code not in (_SUCCESS, _SASL_CONTINUES):
            answer.demand_success("The bind was refused")
        return answer

    flag = gssapi.RequirementFlag
    try:
        context = gssapi.SecurityContext(
            name=gssapi.Name(f"ldap/{host}@{settings.realm}", gssapi.NameType.kerberos_principal),
            creds=_credentials(settings),
            mech=gssapi.MechType.kerberos,
            flags=flag.mutual_authentication | flag.confidentiality | flag.integrity | flag.out_of_sequence_detection,
            usage="initiate",
        )
        answer = step(context.step() or b"")
        while not context.complete:
            answer = step(context.step(answer.credentials) or b"")
        if not answer.credentials:
            answer = step(b"")
        offer = context.unwrap(answer.credentials).message
        if len(offer) != 4 or not offer[0] & _ENCRYPTED:
            raise LdapUnavailable(f"{host} offers no encryption with Kerberos")
        choice = bytes([_ENCRYPTED]) + min(MAX_ANSWER, 0xFF_FFFF).to_bytes(3, "big")
        step(context.wrap(choice, False).message).demand_success("The bind was refused")
    except GSSError as error:
        raise LdapUnavailable(f"it does not accept the account {settings.account}: {error}") from error
    session.protect(context)


def _credentials(settings: DomainSettings) -> Any:
    import gssapi
    from gssapi import raw

    name = gssapi.Name(f"{settings.account}@{settings.realm}", gssapi.NameType.kerberos_principal)
    if settings.keytab is None:
        return raw.acquire_cred_with_password(
            name, settings.password.encode(), usage="initiate", mechs=[gssapi.MechType.kerberos]
        ).creds
    store: dict[bytes | str, bytes | str] = {
        "client_keytab": f"FILE:{settings.keytab}",
        "ccache": f"MEMORY:certwright-{secrets.token_hex(8)}",
    }
    return gssapi.Credentials(name=name, usage="initiate", store=store)


# -- messages --------------------------------------------------------------------------------------------------------


class _Answer:
    """LDAPResult, and what a bind adds. RFC 4511 4.1.9, 4.2.2."""

    def __init__(self, content: bytes) -> None:
        reader = der.Reader(content, what="the answer")
        self.code = int.from_bytes(reader.content(der.ENUMERATED), "big")
        reader.content(der.OCTET_STRING)
        self.words = reader.content(der.OCTET_STRING).decode("utf-8", "replace").rstrip("\0")
        reader.optional(0xA3)  # referrals
        found = reader.optional(_SERVER_CREDENTIALS)
        self.credentials = found.content(content) if found is not None else b""

    def demand_success(self, what: str) -> None:
        if self.code in _BUSY:
            raise LdapUnavailable(f"{what}: {self.words}")
        if self.code != _SUCCESS:
            raise LdapError(f"{what}: {self.words or f'result code {self.code}'}", self.code, self.words)


class _Layer(Protocol):
    def wrap(self, message: bytes, encrypt: bool) -> Any: ...
    def unwrap(self, message: bytes) -> Any: ...


class _Session:
    """One connection: a question, its answer."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._number = 0
        self._layer: _Layer | None = None

    def protect(self, layer: _Layer) -> None:
        """Encrypt from now on."""
        self._layer = layer

    def say(self, operation: int, content: bytes, controls: bytes = b"") -> None:
        self._number += 1
        inside = der.integer(self._number) + der.tlv(operation, content)
        if controls:
            inside += der.tlv(_CONTROLS, controls[der.start_of(controls, 0) :])
        message = der.sequence(inside)
        if self._layer is not None:
            sealed: bytes = self._layer.wrap(message, True).message
            message = len(sealed).to_bytes(4, "big") + sealed
        self._link.sendall(message)

    def ask(self, operation: int, content: bytes, expected: int, controls: bytes = b"") -> _Answer:
        self.say(operation, content, controls)
        message = der.Reader.of(ber.to_der(self._receive(), max_octets=MAX_ANSWER), what="the answer")
        if message.integer() != self._number:
            raise EncodingError("the answer to another question")
        return _Answer(message.content(expected))

    def _receive(self) -> bytes:
        if self._layer is not None:
            sealed = self._exactly(int.from_bytes(self._exactly(4), "big"))
            plain: bytes = self._layer.unwrap(sealed).message
            return plain
        start = self._exactly(2)
        length = start[1]
        if length & 0x80:
            more = self._exactly(length & 0x7F)
            start, length = start + more, int.from_bytes(more, "big")
        return start + self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        if count > MAX_ANSWER:
            raise EncodingError(f"an answer of {count} octets")
        received = bytearray()
        while len(received) < count:
            part = self._link.recv(count - len(received))
            if not part:
                raise ConnectionResetError("the controller closed the connection")
            received += part
        return bytes(received)
