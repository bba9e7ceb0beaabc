"""SCEP messages for people: what a message says of itself, who signed it, whom its contents are encrypted for.

As in `pki.explain`, nothing is verified and nothing is opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from certwright.pki import armor, der, explain, oids
from certwright.pki.certificate import serial_hex
from certwright.pki.enveloped_data import EnvelopedData, Recipient
from certwright.pki.errors import EncodingError
from certwright.pki.explain import Explanation
from certwright.pki.names import format_name
from certwright.pki.signed_data import SignedData
from certwright.wire.scep import MessageType, PkiMessage

_TITLES: Final = {
    MessageType.CERT_REP: "CertRep",
    MessageType.RENEWAL_REQ: "RenewalReq",
    MessageType.UPDATE_REQ: "UpdateReq",
    MessageType.PKCS_REQ: "PKCSReq",
    MessageType.CERT_POLL: "CertPoll",
    MessageType.GET_CERT: "GetCert",
    MessageType.GET_CRL: "GetCRL",
}


def explain_any(data: bytes) -> Explanation:
    """A SCEP message, the answer to GetNextCACert, or anything that `pki.explain` knows.

    Raises:
        EncodingError: it is none of them; the message gives the reason of each.
    """
    try:
        signed = armor.dearmor(data, explain.MAX_INPUT, indefinite=True)
        found = _signed(signed)
    except EncodingError:
        found = None
    return found if found is not None else explain.explain(data)


def explained(data: bytes) -> Explanation:
    """The same for what strangers sent: what cannot be read is said to be so."""
    if not data:
        return Explanation("No message", "none was sent, or it was not kept")
    try:
        return explain_any(data)
    except EncodingError as error:
        shown = data[:256].hex() + (f"... ({len(data)} bytes)" if len(data) > 256 else "")
        return Explanation("Unreadable", str(error), (Explanation("bytes", shown),))


def _signed(data: bytes) -> Explanation | None:
    signed = SignedData.parse(data)
    if not signed.signers:
        return None
    if signed.signers[0].attribute(oids.SCEP_MESSAGE_TYPE) is not None:
        return explain_message(PkiMessage.parse(data))
    if signed.content and signed.content_type == oids.CMS_DATA:
        return Explanation(
            "Signed data",
            "signed by " + (_signer_name(signed) or "somebody whose certificate is not in it"),
            (explain.explain_chain(signed.content),),
        )
    return None


def _signer_name(signed: SignedData) -> str:
    certificate = signed.certificate_of(signed.signers[0])
    return certificate.subject_name if certificate is not None else ""


def explain_message(message: PkiMessage) -> Explanation:
    facts: list[Explanation] = [
        Explanation("Message type", f"{_TITLES[message.kind]} ({int(message.kind)})"),
        Explanation("Transaction ID", message.transaction_text),
    ]
    if message.status is not None:
        facts.append(Explanation("Status", f"{message.status.name} ({int(message.status)})"))
    if message.fail_info is not None:
        facts.append(Explanation("Failure", f"{message.fail_info.name} ({int(message.fail_info)})"))
    if message.fail_text:
        facts.append(Explanation("Failure text", message.fail_text))
    if message.sender_nonce:
        facts.append(Explanation("Sender nonce", message.sender_nonce.hex()))
    if message.recipient_nonce:
        facts.append(Explanation("Recipient nonce", message.recipient_nonce.hex()))
    facts.append(Explanation("Digest algorithm", oids.name_of(message.signature.digest_algorithm)))
    algorithm = der.Reader.of(message.signature.signature_algorithm, what="algorithm").oid()
    facts.append(Explanation("Signature algorithm", oids.name_of(algorithm)))
    own = "self-signed" if message.signer.is_self_issued else f"issued by {format_name(message.signer.issuer)}"
    facts.append(Explanation("Signed by", own, (explain.explain_certificate(message.signer.der),)))
    facts.append(_contents(message.envelope))
    return Explanation("SCEP message", _TITLES[message.kind], tuple(facts))


def _contents(envelope: bytes | None) -> Explanation:
    if envelope is None:
        return Explanation("Contents", "none")
    try:
        enveloped = EnvelopedData.parse(envelope)
    except EncodingError as error:
        return Explanation("Contents", f"unreadable: {error}")
    return Explanation(
        "Contents",
        f"encrypted with {enveloped.cipher.label}, {len(enveloped.encrypted)} octets",
        tuple(_recipients(enveloped.recipients)),
    )


def _recipients(recipients: Iterable[Recipient]) -> Iterable[Explanation]:
    for each in recipients:
        identifier = each.identifier
        if identifier.key_identifier is not None:
            who = f"key {identifier.key_identifier.hex()}"
        else:
            who = f"{format_name(identifier.issuer)}, serial number {serial_hex(identifier.serial)}"
        transport = oids.name_of(der.Reader.of(each.algorithm, what="key transport").oid())
        yield Explanation("Encrypted for", who, (Explanation("Key transport", transport),))
