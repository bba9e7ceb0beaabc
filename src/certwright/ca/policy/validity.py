"""How long a certificate lives. [MS-WCCE] 3.2.2.6.2.1.4.4.2; the certificates printed in [MS-WSTEP] 4.1 agree.

It begins the clock skew ago, and ends with the shortest of the template's period, counted from that beginning, the
CA's maximum, counted from now, and the CA's own certificate.
"""

from __future__ import annotations

import functools
from datetime import datetime, timedelta

from certwright.adcs.errors import HResult
from certwright.ca.policy.base import CaFacts
from certwright.ca.policy.case import Refused


def validity(ca: CaFacts, period: timedelta | None, overlap: timedelta, template: str) -> tuple[datetime, datetime]:
    """notBefore and notAfter in whole seconds.

    Args:
        period: what the template allows; None without a template.
        overlap: the renewal period; it must fit into the result.
        template: cn, for the message.

    Raises:
        Refused: the CA certificate is not valid now (rule `ca_certificate`), or a certificate would have to be
            renewed before it begins (rule `validity_period`).
    """
    if not ca.not_before <= ca.now < ca.not_after:
        raise Refused(
            HResult.CERTSRV_E_INVALID_CA_CERTIFICATE,
            f"The certificate of this CA is valid from {ca.not_before:%Y-%m-%d} to {ca.not_after:%Y-%m-%d} only:"
            " renew it.",
            "ca_certificate",
        )
    second = ca.now.replace(microsecond=0)
    return _within(second, ca.clock_skew, ca.maximum_validity, ca.not_before, ca.not_after, period, overlap, template)


_SECOND = timedelta(seconds=1)


@functools.lru_cache(maxsize=256)
def _within(
    now: datetime,
    clock_skew: timedelta,
    maximum: timedelta,
    first: datetime,
    last: datetime,
    period: timedelta | None,
    overlap: timedelta,
    template: str,
) -> tuple[datetime, datetime]:
    """Remembered: under load, many certificates of a template begin in the same second."""
    not_before = max(now - clock_skew, first)
    lifetime = min(now - not_before + maximum, last - not_before)
    if period is not None:
        lifetime = min(lifetime, period)
    if lifetime < overlap or not_before + lifetime < now + _SECOND:
        days = max(lifetime, timedelta(0)) / timedelta(days=1)
        raise Refused(
            HResult.CERTSRV_E_CERT_TYPE_OVERLAP,
            f"A certificate could be valid for {days:.1f} days, which is shorter than the renewal period"
            f" of {template or 'this CA'} ({overlap / timedelta(days=1):.1f} days): renew the CA's certificate or"
            " shorten the template's renewal period.",
            "validity_period",
        )
    return not_before, not_before + lifetime
