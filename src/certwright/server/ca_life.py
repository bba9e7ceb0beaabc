"""Our CAs from request file to renewal, for pages and programs: implements `adcs.ca_life.CaLife`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from certwright.adcs.ca_life import ImportedCrl, LivingCa, OwnCertificate
from certwright.adcs.errors import BadRequest, InvalidArgument
from certwright.adcs.properties import CaType
from certwright.adcs.requester import Requester
from certwright.adcs.roles import CaAccess
from certwright.ca import request_files
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaRecord
from certwright.ca.periods import Period
from certwright.ca.store import SqlCaDatabase, list_cas
from certwright.keystores.base import KeyAlgorithm
from certwright.pki import armor, cms
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError
from certwright.server import above, authorities
from certwright.server.composition import Installation

MAX_FILE: Final = 1 << 20
MAX_CRL: Final = 64 << 20
_BLOCK: Final = re.compile(rb"-----BEGIN [^-]+-----.+?-----END [^-]+-----", re.DOTALL)


class OurCas:
    """The CAs of one installation."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def all(self) -> Sequence[LivingCa]:
        records = list_cas(self._installation.database)
        ordered = sorted(records, key=lambda each: (not each.certificates, each.ca_type.is_root, each.ca_id))
        return [living for record in ordered if (living := self._living(record)) is not None]

    def _living(self, record: CaRecord) -> LivingCa | None:
        """None for the row of an attempt that was cut off."""
        waits = self._rows(record).certificate_request() is not None
        if not record.certificates and not waits:
            return None
        configuration = CaConfiguration.load(record.settings)
        host = configuration.dns_name or self._installation.home.settings.hostname
        offline = self._installation.key_store.offline_names()
        newest_first = sorted(record.certificates, key=lambda each: each.index, reverse=True)
        return LivingCa(
            name=record.name,
            config=f"{host}\\{record.name}" if record.certificates else "",
            ca_type=record.ca_type,
            parent=record.parent,
            certificates=tuple(
                OwnCertificate(
                    each.index,
                    each.key_index,
                    (view := CertificateView.parse(each.der)).serial_number,
                    view.sha256,
                    each.not_before,
                    each.not_after,
                    each.key_name not in offline,
                )
                for each in newest_first
            ),
            is_signed_elsewhere=bool(newest_first and newest_first[0].chain),
            waits=waits,
            suspended=configuration.suspended,
        )

    def _rows(self, record: CaRecord) -> SqlCaDatabase:
        return SqlCaDatabase(self._installation.database, self._installation.audit, record.ca_id)

    def create(
        self, name: str, ca_type: CaType, parent: str, algorithm: KeyAlgorithm, operator: Requester
    ) -> Sequence[str]:
        self._demand(operator, parent)
        if ca_type.is_root == bool(parent):
            raise InvalidArgument("a root signs itself; every other CA needs one above it")
        if ca_type.is_root:
            authorities.create_root(self._installation, _named(name), ca_type, algorithm, operator)
        else:
            authorities.create_below(self._installation, _named(name), ca_type, parent, algorithm, operator)
        return authorities.follow(self._installation, _named(name), operator)

    def ask(self, name: str, ca_type: CaType, algorithm: KeyAlgorithm, operator: Requester) -> bytes:
        self._demand(operator)
        if ca_type.is_root:
            raise InvalidArgument("a root signs itself; no request is needed")
        return authorities.create_by_request(self._installation, _named(name), ca_type, algorithm, operator)

    def request(self, name: str, operator: Requester) -> bytes:
        self._demand(operator)
        found = authorities.waiting(self._installation, _named(name)).certificate_request()
        assert found is not None
        return found.request

    def install(self, name: str, answer: bytes, operator: Requester) -> Sequence[str]:
        self._demand(operator)
        database = authorities.waiting(self._installation, _named(name))
        authorities.install(self._installation, database, tuple(certificates_in(answer)), operator)
        return authorities.follow(self._installation, database.ca().name, operator)

    def withdraw(self, name: str, operator: Requester) -> None:
        self._demand(operator)
        database = authorities.waiting(self._installation, _named(name))
        request_files.withdraw(database, self._installation.key_store)

    def sign(self, ca: str, request: bytes, validity: str, path_length: int, operator: Requester) -> Sequence[bytes]:
        self._demand(operator, ca)
        asked = _dearmored(request, MAX_FILE)
        return authorities.sign(self._installation, ca, asked, _period(validity), path_length, operator)

    def renew(
        self, ca: str, algorithm: KeyAlgorithm | None, validity: str, operator: Requester, *, by_request: bool = False
    ) -> tuple[bytes, Sequence[str]]:
        self._demand(operator, ca)
        name = self._installation.ca(ca).authority.name
        period = _period(validity) if validity.strip() else None
        asked = authorities.renew(self._installation, name, algorithm, period, operator, by_request=by_request)
        if asked is not None:
            return asked, ()
        return b"", authorities.follow(self._installation, name, operator)

    def suspend(self, ca: str, operator: Requester) -> None:
        self._set(ca, operator, "on")

    def resume(self, ca: str, operator: Requester) -> None:
        self._set(ca, operator, "off")

    def _set(self, ca: str, operator: Requester, suspended: str) -> None:
        config = self._installation.ca(ca).config
        self._installation.registry.administer(config, operator).set_configuration({"suspended": suspended})

    def import_crl(self, data: bytes, operator: Requester) -> ImportedCrl:
        self._demand(operator)
        crl, files = above.import_crl(self._installation, _dearmored(data, MAX_CRL), operator)
        return ImportedCrl(crl.issuer_name, crl.number or 0, crl.next_update, files)

    def _demand(self, operator: Requester, ca: str = "") -> None:
        """A CA administrator of the CA concerned; of the issuing one where that is not there yet."""
        self._installation.demand(operator, CaAccess.ADMINISTRATOR, ca)


def certificates_in(data: bytes) -> Iterator[bytes]:
    """Every certificate in a file: PEM blocks one after the other, DER, or PKCS #7 in either.

    Raises:
        BadRequest: it is armored badly.
    """
    for block in _BLOCK.findall(data) or [data]:
        der = _dearmored(block, MAX_FILE)
        try:
            yield from cms.parse_certs_only(der)
        except EncodingError:
            yield der


def _dearmored(data: bytes, limit: int) -> bytes:
    try:
        return armor.dearmor(data, limit)
    except EncodingError as error:
        raise BadRequest(f"the file cannot be read: {error}") from error


def _named(name: str) -> str:
    found = " ".join(name.split())
    if not found:
        raise InvalidArgument("the CA needs a name")
    return found


def _period(text: str) -> Period:
    try:
        period = Period.parse(text)
    except ValueError as error:
        raise InvalidArgument(f"the validity: {error}") from error
    if not period.count:
        raise InvalidArgument("the validity must be longer than nothing")
    return period
