"""Certificates for this host: asked for, collected after an approval, renewed. [MS-XCEP], [MS-WSTEP].

A renewal goes the way that needs least: with the old certificate, where its CA takes that (key-based renewal, or an
account that the certificate is mapped to); else signed by the old certificate, as whoever enrolled first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from certwright.adcs.errors import AccessDenied, AdcsError, CaUnreachable, InvalidArgument, NoSuchRequest
from certwright.adcs.request import Disposition, RequestFlags, Response
from certwright.client.enrollments import Auth, Enrollment, State, read_key
from certwright.client.logons import logon_of, trust_of
from certwright.client.requests import (
    general_names,
    key_for,
    new_request,
    renewal_request,
    subject_of,
)
from certwright.connectors.ces import CesConnection, Place, PolicyServer, place_of, policy_of
from certwright.connectors.chains import ordered
from certwright.connectors.soap import CertificateLogon, Endpoint
from certwright.keystores.base import KeyAlgorithm, PrivateKey
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError
from certwright.pki.signed_data import SignedData
from certwright.wire.xcep import ClientAuthentication, Policy, PolicyResponse

_FULL: Final = RequestFlags.FULL_RESPONSE
_SAME_KEY: Final = 0x80  # CT_FLAG_REQUIRE_SAME_KEY_RENEWAL, [MS-CRTD] 2.27


class Step(StrEnum):
    """How an enrollment came out of one call."""

    ENROLLED = "enrolled"
    RENEWED = "renewed"
    PENDING = "pending"
    IN_PLACE = "in place"  # nothing had to be done


@dataclass(frozen=True, slots=True)
class Result:
    step: Step
    enrollment: Enrollment
    certificate: CertificateView | None
    message: str = ""


class Denied(AccessDenied):
    """The CA says no, in its own words."""


class Client:
    """Enrollments of this host, in their state folder.

    Args:
        password: for an account whose password stands in no file.
        clock: the time, aware, UTC.
    """

    def __init__(
        self, state: State, *, password: str = "", clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._state = state
        self._password = password
        self._clock = clock

    def enroll(self, wanted: Enrollment) -> Result:
        """Have a certificate; the same call again collects it after an approval, and leaves one alone that is good.

        Raises:
            Denied: the CA says no.
            AdcsError: it cannot be asked.
        """
        with self._state.alone():
            wanted.files.settle()
            known = self._state.get(wanted)
            if known is not None and known.pending_id:
                return self._collect(known)
            current = wanted.files.current()
            if current is not None and current.not_after > self._clock():
                if known is None:
                    raise InvalidArgument(
                        f"{wanted.certificate_file} holds a certificate that was not enrolled for with this state "
                        "folder; name another file, or remove it"
                    )
                return Result(Step.IN_PLACE, known, current)
            return self._enroll(wanted)

    def renew(self, enrollment: Enrollment, *, only_due: bool) -> Result:
        """Renew, or collect what waits. Raises as `enroll`."""
        with self._state.alone():
            files = enrollment.files
            files.settle()
            if enrollment.pending_id:
                return self._collect(enrollment)
            current = files.current()
            now = self._clock()
            if current is None or current.not_after <= now:
                return self._enroll(enrollment)  # there is nothing that could be renewed
            if only_due and enrollment.due(current) > now:
                return Result(Step.IN_PLACE, enrollment, current)
            return self._renew(enrollment, current)

    # -- new

    def _enroll(self, wanted: Enrollment) -> Result:
        server = self._server(wanted)
        policies, policy = self._asked(server, wanted)
        wanted = _with_what_was_told(wanted, policies, policy)
        place = place_of(policies, server.logon.kind, ca_name=wanted.ca, template=policy.common_name)
        names = general_names(wanted.names)
        subject = subject_of(wanted.subject, names)
        algorithm = KeyAlgorithm(wanted.key) if wanted.key else key_for(policy)
        self._state.put(wanted)
        key = wanted.files.key_to_use(algorithm, renews=False)
        response = CesConnection(server, place=place).submit(new_request(key, policy, subject, names), flags=_FULL)
        return self._taken(wanted, response, Step.ENROLLED, place)

    def _asked(self, server: PolicyServer, wanted: Enrollment) -> tuple[PolicyResponse, Policy]:
        policies = server.policies()
        policy = policy_of(policies, wanted.template)
        if not policy.enroll:
            raise AccessDenied(f"this account may not enroll for {policy.common_name}; it needs the right Enroll")
        return policies, policy

    # -- renewal

    def _renew(self, enrollment: Enrollment, old: CertificateView) -> Result:
        """Every way in turn; what is sent is the same for all of them."""
        old_key = read_key(Path(enrollment.key_file))
        key = old_key if enrollment.keep_key else enrollment.files.key_to_use(_like(old_key), renews=True)
        request = renewal_request(key, old, old_key)
        problems: list[AdcsError] = []
        for server, place in self._ways(enrollment, old, problems):
            by_certificate = isinstance(server.logon, CertificateLogon) and enrollment.auth is not Auth.CERTIFICATE
            try:
                response = CesConnection(server, place=place).submit(request, flags=_FULL)
                return self._taken(
                    enrollment, response, Step.RENEWED, place, renews=True, by_certificate=by_certificate
                )
            except (AccessDenied, CaUnreachable) as error:
                problems.append(error)
        if len(problems) == 1:
            raise problems[0]
        raise AccessDenied("it cannot be renewed. " + " ".join(f"{each.message.rstrip('.')}." for each in problems))

    def _ways(
        self, enrollment: Enrollment, old: CertificateView, problems: list[AdcsError]
    ) -> Iterator[tuple[PolicyServer, Place]]:
        trust = trust_of(enrollment.ca_file, enrollment.fingerprint)
        if oids.EKU_CLIENT_AUTH in old.extended_key_usage:
            logon = CertificateLogon(Path(enrollment.certificate_file), Path(enrollment.key_file))
            for uri in enrollment.renewal_uris:
                endpoint = Endpoint(uri)
                yield PolicyServer(endpoint, logon, trust), Place(old.der, endpoint)
        try:
            server = self._server(enrollment)
            policies = server.policies()
            place = place_of(
                policies, server.logon.kind, ca_name=enrollment.ca, template=enrollment.template, renewal=True
            )
        except AdcsError as error:  # refused, not reached; or no password is kept, or its file is gone
            problems.append(error)
            return
        yield server, place

    # -- pending

    def _collect(self, enrollment: Enrollment) -> Result:
        server = self._server(enrollment, by_certificate=enrollment.pending_by_certificate)
        place = Place(b"", Endpoint(enrollment.pending_uri))
        try:
            response = CesConnection(server, place=place).retrieve(enrollment.pending_id, flags=_FULL)
        except NoSuchRequest as error:
            self._state.put(_without_pending(enrollment))
            raise NoSuchRequest(
                f"the CA knows no request {enrollment.pending_id} any more; enroll again ({error.message})"
            ) from error
        step = Step.RENEWED if enrollment.pending_renews else Step.ENROLLED
        return self._taken(
            enrollment,
            response,
            step,
            place,
            renews=enrollment.pending_renews,
            by_certificate=enrollment.pending_by_certificate,
        )

    # -- answers

    def _taken(
        self,
        enrollment: Enrollment,
        response: Response,
        step: Step,
        place: Place,
        *,
        renews: bool = False,
        by_certificate: bool = False,
    ) -> Result:
        if response.is_issued and response.certificate is not None:
            certificate = CertificateView.parse(response.certificate)
            enrollment.files.put(certificate, ordered(certificate, _others(response)))
            enrollment = _without_pending(enrollment)
            self._state.put(enrollment)
            return Result(step, enrollment, certificate, response.message)
        if response.disposition is Disposition.UNDER_SUBMISSION:
            enrollment = replace(
                enrollment,
                pending_id=response.request_id,
                pending_uri=place.endpoint.url,
                pending_renews=renews,
                pending_by_certificate=by_certificate,
            )
            self._state.put(enrollment)
            return Result(Step.PENDING, enrollment, enrollment.files.current(), response.message)
        if enrollment.pending_id:
            self._state.put(_without_pending(enrollment))
        raise Denied(f"request {response.request_id} was not granted: {response.message}", response.status)

    # -- inside

    def _server(self, enrollment: Enrollment, *, by_certificate: bool = False) -> PolicyServer:
        trust = trust_of(enrollment.ca_file, enrollment.fingerprint)
        if by_certificate:
            logon = CertificateLogon(Path(enrollment.certificate_file), Path(enrollment.key_file))
            return PolicyServer(Endpoint(enrollment.pending_uri), logon, trust)
        return PolicyServer(Endpoint(enrollment.policy), logon_of(enrollment, self._password), trust)


def _without_pending(enrollment: Enrollment) -> Enrollment:
    return replace(enrollment, pending_id=0, pending_uri="", pending_renews=False, pending_by_certificate=False)


def _with_what_was_told(enrollment: Enrollment, policies: PolicyResponse, policy: Policy) -> Enrollment:
    """With what a renewal needs, so that it can do without the policy server."""
    uris = [
        (uri.priority, uri.uri)
        for number in policy.cas
        for uri in policies.cas[number].uris
        if uri.authentication is ClientAuthentication.CERTIFICATE
    ]
    return replace(
        enrollment,
        template=policy.common_name,
        renewal_uris=tuple(uri for _, uri in sorted(uris)),
        renew_seconds=policy.renewal_seconds,
        keep_key=bool((policy.private_key_flags or 0) & _SAME_KEY),
    )


def _like(key: PrivateKey) -> KeyAlgorithm:
    size = key.key_size
    if hasattr(key, "curve"):
        return KeyAlgorithm.ECDSA_P384 if size > 256 else KeyAlgorithm.ECDSA_P256
    return KeyAlgorithm(f"rsa-{min(max(2048, (size + 1023) // 1024 * 1024), 4096)}")


def _others(response: Response) -> tuple[bytes, ...]:
    """The certificates that came along."""
    try:
        return SignedData.parse(response.full_response or b"").certificates
    except EncodingError:
        return ()
