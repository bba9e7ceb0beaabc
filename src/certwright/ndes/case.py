"""One message under way: what it says, for whom it is answered, and how it is refused. RFC 8894 3.2.1.4."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import rsa

from certwright.adcs.interfaces import CertRequest
from certwright.adcs.request import RequestAttributes, Response
from certwright.ndes.desk import Steps
from certwright.ndes.notebook import Entry
from certwright.ndes.registration_authority import RaCertificates
from certwright.ndes.settings import NdesSettings
from certwright.pki.enveloped_data import ContentCipher, seal
from certwright.pki.pkcs10 import VerifiedRequest
from certwright.wire.scep import FailInfo, PkiMessage, PkiStatus


class Door(CertRequest, Protocol):
    """A CA of this installation, which writes a device's row along with its own: `connectors.local`."""

    def submit_soon(
        self, request: VerifiedRequest, attributes: RequestAttributes, along: Entry | None = None
    ) -> Future[Response]: ...


class TooMany(Exception):
    """Wrong challenges came from this address too often; nothing is looked at."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(retry_after)
        self.retry_after = max(1, round(retry_after))


class NotNow(Exception):
    """Nothing is decided; the device is asked to come back. The sentence is for the log."""


class Refused(Exception):
    """Said inside SCEP. `rule` and `detail` are for the log."""

    def __init__(self, fail_info: FailInfo, text: str, rule: str, detail: str = "") -> None:
        super().__init__(text)
        self.fail_info = fail_info
        self.text = text
        self.rule = rule
        self.detail = detail


@dataclass
class Case:
    """One message under way.

    Args:
        service: which service was asked, by name.
        connect: the CA of the service as the service's account, for this peer.
    """

    data: bytes  # the message as it came
    message: PkiMessage
    service: str
    settings: NdesSettings
    ra: RaCertificates
    peer: str
    connect: Callable[[], Door]
    cipher: ContentCipher = ContentCipher.AES_128  # to answer with: the client's
    signer_key: rsa.RSAPublicKey | None = None  # once the message is verified

    @cached_property
    def door(self) -> Door:
        return self.connect()

    @cached_property
    def transaction(self) -> str:
        return self.message.transaction_text

    @cached_property
    def key_hash(self) -> bytes:
        return hashlib.sha256(self.message.signer.public_key_info).digest()

    @property
    def key(self) -> tuple[str, str, bytes]:
        """Of its row: service, transaction, key."""
        return (self.service, self.transaction, self.key_hash)

    # -- answers

    def success(self, contents: bytes) -> Steps[bytes]:
        envelope = seal(contents, self.message.signer, self.cipher, public_key=self.signer_key)
        yield None
        return self.message.answer(self.ra.signing, PkiStatus.SUCCESS, envelope=envelope)

    def pending(self) -> bytes:
        return self.message.answer(self.ra.signing, PkiStatus.PENDING)

    def failure(self, refused: Refused) -> bytes:
        return self.message.answer(
            self.ra.signing, PkiStatus.FAILURE, fail_info=refused.fail_info, fail_text=refused.text
        )
