"""What a result code means to the person who sees it, and what to do about it.

The CA's own message always stands beside these sentences; they never replace it. No sentence may contain a marker of
`wire.certsrv.markers`, or a client would read it as an outcome; a test holds them against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from certwright.adcs.errors import HResult
from certwright.wire.certsrv.markers import PROPERTY_EMPTY


@dataclass(frozen=True, slots=True)
class Explanation:
    """`what` is one sentence, used as the result text too; `remedy` says what the reader can do."""

    what: str
    remedy: str


_ASK_AN_ADMINISTRATOR: Final = "Show this page to an administrator of the Certification Authority."

_OTHER_REFUSAL: Final = Explanation(
    "The request breaks a rule of the Certification Authority.",
    "The disposition message names the rule. Change the request accordingly, or show this page to an administrator.",
)
_OTHER_FAILURE: Final = Explanation(
    "The Certification Authority could not complete this operation.", _ASK_AN_ADMINISTRATOR
)

EXPLANATIONS: Final = {
    HResult.S_OK: Explanation("The operation completed successfully.", ""),
    HResult.E_ACCESSDENIED: Explanation(
        "Your account does not have the right to do this.",
        "Sign in with an account that has it, or ask an administrator of the Certification Authority to grant it.",
    ),
    HResult.E_INVALIDARG: Explanation(
        "Something in the address or the form has a value that is not possible.",
        "Go back, check what was entered, and try again.",
    ),
    HResult.ERROR_INVALID_DATA: Explanation(
        "What was sent cannot be read.",
        "Send a certificate request in PEM or base64 form, complete from its first line to its last.",
    ),
    HResult.ERROR_FILE_NOT_FOUND: Explanation(
        "The Certification Authority has published nothing of this kind.",
        "Choose another CA certificate or CRL on the CA certificate page.",
    ),
    HResult.ERROR_NOT_SUPPORTED: Explanation("This Certification Authority does not offer that.", ""),
    HResult.ERROR_BUSY: Explanation(
        "The Certification Authority is busy.", "Nothing was lost on your side: try again in a minute."
    ),
    HResult.ERROR_TIMEOUT: Explanation(
        "The Certification Authority did not answer in time.",
        "Look at your pending requests before you send the request again: it may have arrived.",
    ),
    HResult.RPC_S_SERVER_UNAVAILABLE: Explanation(
        "The Certification Authority cannot be reached.",
        "Try again in a few minutes. If this stays, tell an administrator that the CA service is not running.",
    ),
    HResult.NTE_BAD_SIGNATURE: Explanation(
        "The signature of the request does not fit its key.",
        "The request was changed or damaged on its way. Make it again and paste all of it.",
    ),
    HResult.CRYPT_E_ASN1_BADTAG: Explanation(
        "The request is damaged or is not a certificate request.",
        "Paste a PKCS #10 request, complete from its first line to its last.",
    ),
    HResult.CERTSRV_E_BAD_REQUESTSUBJECT: Explanation(
        "The subject name of the request is not allowed.",
        "Check the names in the request for empty, too long or malformed parts.",
    ),
    HResult.CERTSRV_E_BAD_REQUESTSTATUS: Explanation(
        "The request is not in a state in which this can be done.", "Look up its current state by its ID."
    ),
    HResult.CERTSRV_E_PROPERTY_EMPTY: Explanation(
        PROPERTY_EMPTY,
        "Check the number, and that you are signed in with the account that sent the request.",
    ),
    HResult.CERTSRV_E_INVALID_CA_CERTIFICATE: Explanation(
        "The certificate of the Certification Authority is not valid at this time.", _ASK_AN_ADMINISTRATOR
    ),
    HResult.CERTSRV_E_SERVER_SUSPENDED: Explanation(
        "The Certification Authority is suspended and takes no requests.", "Try again later, or ask an administrator."
    ),
    HResult.CERTSRV_E_ROLECONFLICT: Explanation(
        "Your account holds two roles on a Certification Authority that separates roles.",
        "Ask an administrator to take one of them from the account.",
    ),
    HResult.CERTSRV_E_ENROLL_DENIED: Explanation(
        "Your account has no right to request certificates from this Certification Authority.",
        "Ask an administrator for the right Request Certificates on the CA.",
    ),
    HResult.CERTSRV_E_TEMPLATE_DENIED: Explanation(
        "Your account has no Enroll right on this certificate template.",
        "Choose another template, or ask an administrator to let your account or one of its groups enroll for it.",
    ),
    HResult.CERTSRV_E_ADMIN_DENIED_REQUEST: Explanation(
        "A certificate manager refused the request.",
        "Ask the certificate manager for the reason before asking again.",
    ),
    HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY: Explanation(
        "The key or the signature of the request is too weak.",
        "Make a new key (RSA from 2048 bits, or P-256) and sign the request with SHA-256 or better.",
    ),
    HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE: Explanation(
        "This Certification Authority does not issue certificates of that template.",
        "Choose a template from the list on the request page. If it should be there, ask an administrator to publish "
        "it on this CA.",
    ),
    HResult.CERTSRV_E_NO_CERT_TYPE: Explanation(
        "The request names no certificate template.",
        "Choose a template on the request page, or add the attribute CertificateTemplate:name.",
    ),
    HResult.CERTSRV_E_UNKNOWN_CERT_TYPE: Explanation(
        "The request names a certificate template that does not exist.", "Choose a template on the request page."
    ),
    HResult.CERTSRV_E_TEMPLATE_CONFLICT: Explanation(
        "The request names two different certificate templates.",
        "Make the request without a template inside, or choose the same one on the request page.",
    ),
    HResult.CERTSRV_E_BAD_TEMPLATE_VERSION: Explanation(
        "The request is for a newer version of its certificate template than this CA knows.",
        "Make the request again with a version that the CA has, or ask an administrator to bring the template up to "
        "date there.",
    ),
    HResult.CERTSRV_E_SUBJECT_ALT_NAME_REQUIRED: Explanation(
        "The template wants a subject alternative name, and there is none.",
        "Add the DNS names or addresses to the request.",
    ),
    HResult.CERTSRV_E_ARCHIVED_KEY_REQUIRED: Explanation(
        "The template wants the private key to be archived, and the request does not carry it.",
        "Such a request is made by Windows itself; choose another template here.",
    ),
    HResult.CERTSRV_E_SIGNATURE_COUNT: Explanation(
        "The template wants the signature of an enrollment agent or another authorized person.",
        "Have the request signed by someone who may, or choose another template.",
    ),
    HResult.CERTSRV_E_SIGNATURE_POLICY_REQUIRED: Explanation(
        "A signature on the request lacks the policy that the template demands.",
        "Have the request signed with a certificate that carries the demanded policy.",
    ),
    HResult.CERTSRV_E_SIGNATURE_REJECTED: Explanation(
        "A signature on the request was not accepted.",
        "Have the request signed with a valid certificate of an authorized signer.",
    ),
    HResult.CERTSRV_E_SUBJECT_UPN_REQUIRED: Explanation(
        "The template puts a user principal name into the certificate, and your account has none.",
        "Ask an administrator to set the user principal name of the account.",
    ),
    HResult.CERTSRV_E_SUBJECT_DIRECTORY_GUID_REQUIRED: Explanation(
        "The template puts the directory GUID into the certificate, and the account has none.",
        "Choose a template that is meant for this kind of account.",
    ),
    HResult.CERTSRV_E_SUBJECT_DNS_REQUIRED: Explanation(
        "The template puts a DNS name into the certificate, and your account has none.",
        "Use a computer account, or ask an administrator to set the DNS host name of the account.",
    ),
    HResult.CERTSRV_E_SUBJECT_EMAIL_REQUIRED: Explanation(
        "The template puts an e-mail address into the certificate, and your account has none.",
        "Ask an administrator to set the e-mail address of the account.",
    ),
    HResult.CERTSRV_E_KEY_LENGTH: Explanation(
        "The key of the request is shorter than the template allows.",
        "Make a new key of at least the size that the template names, and a new request with it.",
    ),
    HResult.CERTSRV_E_KEY_ATTESTATION: Explanation(
        "The request does not prove that its key lives in a trusted platform module.",
        "Such a request is made by a machine with a TPM; choose another template here.",
    ),
    HResult.CERTSRV_E_SEC_EXT_DIRECTORY_SID_REQUIRED: Explanation(
        "The security identifier of the account cannot be put into the certificate.", _ASK_AN_ADMINISTRATOR
    ),
}


def explain(status: HResult, *, refusal: bool = False) -> Explanation:
    """The explanation of a code; of an unknown one what can be said of any refusal or failure."""
    return EXPLANATIONS.get(status) or (_OTHER_REFUSAL if refusal else _OTHER_FAILURE)
