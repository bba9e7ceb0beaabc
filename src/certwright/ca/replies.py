"""The CMC full PKI response: what a CA says to a request, signed with its own key. [MS-WCCE] 3.2.1.4.2.1.4.8.2.

Made only for those who ask (CR_IN_FULLRESPONSE), after the decision is durable, outside the issuer thread.
"""

from __future__ import annotations

import hashlib

from certwright.adcs.request import Disposition, RequestFlags, Response
from certwright.ca.authority import Authority
from certwright.ca.chains import Above
from certwright.ca.own_certificates import newest_of
from certwright.ca.revocation.crl import certificates_by_key
from certwright.pki import oids
from certwright.pki.cmc import CmcStatus, PkiResponse
from certwright.pki.signed_data import SignerIdentifier, Signing, sign

_STATUS = {
    Disposition.ISSUED: CmcStatus.SUCCESS,
    Disposition.ISSUED_OUT_OF_BAND: CmcStatus.SUCCESS,
    Disposition.REVOKED: CmcStatus.SUCCESS,
    Disposition.INCOMPLETE: CmcStatus.SUCCESS,
    Disposition.UNDER_SUBMISSION: CmcStatus.PENDING,
}
_BAD_REQUEST = 2  # CMCFailInfo badRequest. RFC 5272 6.1.4


class Replies:
    """Full responses of one CA.

    Args:
        authority: the CA.
        above: the chain above each of its certificates.
    """

    def __init__(self, authority: Authority, above: Above) -> None:
        self._authority = authority
        self._above = above

    def complete(self, response: Response, flags: RequestFlags, body_part: int = 1) -> Response:
        """The response with its full response, when `flags` ask for one.

        Args:
            body_part: the number of the request in its CMC message.

        Raises:
            CaUnreachable: the CA's key cannot be opened.
        """
        if not flags & RequestFlags.FULL_RESPONSE:
            return response
        generation = self._authority.generations.current()
        signer = generation.signer
        status = _STATUS.get(response.disposition, CmcStatus.FAILED)
        certificate = response.certificate if status is CmcStatus.SUCCESS else None
        pending = status is CmcStatus.PENDING
        content = PkiResponse(
            status,
            response.message,
            (body_part,),
            pend_token=response.request_id.to_bytes(4, "little") if pending else b"",
            pend_time=self._authority.clock().replace(microsecond=0) if pending else None,
            fail_info=_BAD_REQUEST if status is CmcStatus.FAILED else None,
            certificate_hash=hashlib.sha1(certificate, usedforsecurity=False).digest() if certificate else b"",
        )
        scheme = signer.crl_signer
        signing = Signing(
            SignerIdentifier.of(signer.certificate),
            scheme.algorithm,
            scheme.scheme.hash_oid or oids.SHA256,
            scheme.sign,
        )
        chain = (signer.certificate.der, *self._above(newest_of(generation.record)))
        certificates = (certificate, *chain) if certificate else chain
        crls = self._crls() if flags & RequestFlags.CRLS else ()
        made = sign(oids.CMC_PKI_RESPONSE, content.encode(), [signing], certificates, crls)
        return response._replace(full_response=made)

    def _crls(self) -> tuple[bytes, ...]:
        """The newest base CRL of every key of this CA that is there."""
        database = self._authority.database
        keys = certificates_by_key(database.ca(), self._authority.clock())
        found = (database.latest_crl(key_index) for key_index in keys)
        return tuple(crl.der for crl in found if crl is not None)
