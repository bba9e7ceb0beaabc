"""Channel bindings: what ties an authentication to the TLS connection it travels on. RFC 5929 4, RFC 4121 4.1.1.

Arithmetic only: who checks it is `auth`, who sends it is a connector.
"""

from __future__ import annotations

import hashlib
from typing import Final

from certwright.pki import der, oids
from certwright.pki.errors import EncodingError
from certwright.pki.signatures import hash_of

_PREFIX: Final = b"tls-server-end-point:"
_HASHES: Final = {
    oids.MD5: hashlib.sha256,  # RFC 5929 4.1: MD5 and SHA-1 are replaced
    oids.SHA1: hashlib.sha256,
    oids.SHA224: hashlib.sha224,
    oids.SHA256: hashlib.sha256,
    oids.SHA384: hashlib.sha384,
    oids.SHA512: hashlib.sha512,
}


def tls_server_end_point(certificate: bytes) -> bytes:
    """The application data for a server that shows this certificate: prefix and hash. RFC 5929 4.1.

    Raises:
        EncodingError: the certificate cannot be read, or its signature uses no hash: the RFC defines nothing for it.
    """
    outer = der.Reader.of(certificate, what="certificate")
    outer.read(der.SEQUENCE)
    digest = _HASHES.get(hash_of(outer.whole(der.SEQUENCE)))
    if digest is None:
        raise EncodingError("tls-server-end-point is not defined for the certificate's signature algorithm")
    return _PREFIX + digest(certificate).digest()


def gss_channel_bindings_hash(application_data: bytes) -> bytes:
    """MD5 of gss_channel_bindings_struct without addresses: NTLM's MsvAvChannelBindings, Kerberos' Bnd.

    [MS-NLMP] 2.2.2.1, 3.1.5.1.2; RFC 4121 4.1.1.2. 16 bytes.
    """
    addresses = bytes(16)
    structure = addresses + len(application_data).to_bytes(4, "little") + application_data
    return hashlib.md5(structure, usedforsecurity=False).digest()
