"""The CA's own settings as values: what the registry holds on Windows, validated at the border. [MS-CSRA] 3.1.1.10.

Every setting is a key in kebab-case (`settings`) with a text for people and a typed value for the engine. A CA's row
keeps the texts that differ from the default.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from certwright.adcs.enrollment_servers import EnrollmentServer
from certwright.adcs.errors import ConfigurationError
from certwright.adcs.properties import CaType
from certwright.adcs.restrictions import Restrictions
from certwright.ca.database import CaCertificateRecord, CaRecord
from certwright.ca.periods import Period
from certwright.ca.settings import SETTINGS, Setting
from certwright.ca.urls import IssuanceUrls, UrlVariables

MAX_TEXT: Final = 16_384
"""Characters of one setting."""


@dataclass(frozen=True, slots=True)
class CaConfiguration:
    """The settings of one CA as values. `SETTINGS` says what each means."""

    dns_name: str
    directory_dn: str
    validity_period: Period
    clock_skew_period: Period
    crl_period: Period
    crl_overlap: Period | None
    delta_crl_period: Period | None
    crl_partition_size: int | None
    crl_keeps_expired: bool
    cdp_urls: tuple[str, ...]
    aia_urls: tuple[str, ...]
    ocsp_urls: tuple[str, ...]
    publication_folders: tuple[str, ...]
    directory_publication: bool
    directory_site: str
    enrollment_servers: tuple[EnrollmentServer, ...] | None  # None: those of this installation
    security_descriptor: str
    enrollment_agents: Restrictions
    officer_rights: Restrictions
    approve_own_requests: bool
    role_separation: bool
    retrieval_by_anyone: bool
    suspended: bool
    request_disposition: str
    channel_binding: str
    ntlm_mic: bool
    ntlm: bool
    negotiate: bool
    basic: bool
    enrollment_ntlm: bool
    renewal_on_behalf: bool
    renewal_only: tuple[str, ...]
    list_all_templates: bool
    overrides: tuple[str, ...]
    _texts: Mapping[str, str] = field(repr=False, compare=False)

    @classmethod
    def load(cls, settings: Mapping[str, object]) -> CaConfiguration:
        """The configuration a CA's row holds; keys that are not there have their default.

        Raises:
            ConfigurationError: an unknown key or a value it cannot have.
        """
        texts = {key: setting.default for key, setting in SETTINGS.items()}
        for key, value in settings.items():
            if not isinstance(value, str):
                raise ConfigurationError(f"{key}: a setting is a text, not {type(value).__name__}")
            texts[_known(key)] = value
        values: dict[str, Any] = {}
        for key, setting in SETTINGS.items():
            value = _read(setting, texts[key])
            texts[key] = setting.write(value)
            values["clock_skew_period" if key == "clock-skew" else setting.attribute] = value
        return cls(**values, _texts=MappingProxyType(texts))

    @classmethod
    def for_new_ca(cls, ca_type: CaType, **settings: str) -> CaConfiguration:
        """What a new CA of this type starts with, changed by `settings` (keys with underscores).

        A root is meant to be used twice a year: it issues for ten years, and its CRL is valid for half a year.
        A standalone subordinate issues for one year, as Windows has it.
        """
        texts: dict[str, str] = {}
        if ca_type.is_root:
            texts = {"validity-period": "10 years", "crl-period": "26 weeks", "crl-overlap": "2 weeks"}
        elif not ca_type.is_enterprise:
            texts = {"validity-period": "1 years"}
        texts |= {key.replace("_", "-"): value for key, value in settings.items()}
        configuration = cls.load(texts)
        configuration._check()
        return configuration

    def changed(self, changes: Mapping[str, str], initial: Mapping[str, object] | None = None) -> CaConfiguration:
        """This configuration with some settings replaced; an empty text takes a setting back to what it was at first.

        Args:
            changes: texts by key.
            initial: the settings that the CA was made with, where they differ from the default.

        Raises:
            ConfigurationError: an unknown key (the nearest known one is named), a value it cannot have, or one that
                contradicts another setting.
        """
        texts = dict(self._texts)
        for key, value in changes.items():
            setting = SETTINGS[_known(key)]
            texts[setting.key] = value if value.strip() else str((initial or {}).get(setting.key, setting.default))
        configuration = self.load(texts)
        configuration._check()
        return configuration

    def as_text(self) -> Mapping[str, str]:
        """Every setting as a text, defaults included."""
        return self._texts

    def as_settings(self) -> Mapping[str, object]:
        """What the CA's row keeps: the texts that differ from the default."""
        return {key: text for key, text in self._texts.items() if text != SETTINGS[key].default}

    def _check(self) -> None:
        """Rules between settings.

        Raises:
            ConfigurationError: two of them contradict each other.
        """
        trial = UrlVariables(self.dns_name, "CA", directory_dn=self.directory_dn)
        for key, urls in (("cdp-urls", self.cdp_urls), ("aia-urls", self.aia_urls), ("ocsp-urls", self.ocsp_urls)):
            try:
                trial.expand_all(urls)
            except ValueError as error:
                raise ConfigurationError(f"{key}: {error}; set it first") from error
        if self.crl_overlap is not None and self.crl_overlap.longest > self.crl_period.longest:
            raise ConfigurationError("crl-overlap: it must not be longer than crl-period")
        if self.delta_crl_period is not None and self.delta_crl_period.longest >= self.crl_period.longest:
            raise ConfigurationError("delta-crl-period: it must be shorter than crl-period")
        own = self._partitioned(replace(trial, partition=1))
        if self.crl_partition_size is not None and not any(url.lower().startswith("http:") for url in own):
            raise ConfigurationError(
                "crl-partition-size: no http URL of cdp-urls has %8, which tells one CRL from another"
            )

    # -- what the engine asks

    def url_variables(self, record: CaRecord, certificate: CaCertificateRecord) -> UrlVariables:
        """What the variables of URLs and file names stand for, for one certificate of the CA."""
        return UrlVariables(
            dns_name=self.dns_name,
            ca_name=record.name,
            certificate_index=certificate.index,
            key_index=certificate.key_index,
            directory_dn=self.directory_dn,
        )

    @property
    def clock_skew(self) -> timedelta:
        return self.clock_skew_period.longest

    def maximum_validity(self, now: datetime) -> timedelta:
        """The longest validity from `now` (ValidityPeriod and ValidityPeriodUnits)."""
        return self.validity_period.length(now)

    @property
    def policy_settings(self) -> Mapping[str, object]:
        """What policy modules may read: `CaFacts.settings`."""
        return MappingProxyType(
            {"request-disposition": self.request_disposition, "enrollment-agents": self.enrollment_agents}
        )

    def issuance_urls(self, record: CaRecord, certificate: CaCertificateRecord, partition: int = 0) -> IssuanceUrls:
        """The URLs that certificates signed under one CA certificate carry.

        Args:
            partition: of the CRLs, by which some of them name their own.

        Raises:
            ConfigurationError: a URL needs a setting that is missing.
        """
        variables = replace(self.url_variables(record, certificate), partition=partition)
        try:
            return IssuanceUrls(
                cdp=self._partitioned(variables) if partition else variables.expand_all(self.cdp_urls),
                aia=variables.expand_all(self.aia_urls),
                ocsp=variables.expand_all(self.ocsp_urls),
                freshest=self._freshest(variables),
            )
        except ValueError as error:
            raise ConfigurationError(f"the CA {record.name}: {error}") from error

    def _freshest(self, variables: UrlVariables) -> tuple[str, ...]:
        """Where the delta CRL lies: the URLs that differ for it. RFC 5280 4.2.1.15."""
        if self.delta_crl_period is None:
            return ()
        base, delta = (replace(variables, delta=each).expand_all(self.cdp_urls) for each in (False, True))
        of_partition = self._partitioned(variables) if variables.partition else base
        return tuple(
            url for url, of_base in zip(delta, base, strict=True) if url != of_base and of_base in of_partition
        )

    def _partitioned(self, variables: UrlVariables) -> tuple[str, ...]:
        """Where a partition's CRL lies: the URLs that differ for it."""
        own = variables.expand_all(self.cdp_urls)
        of_all = replace(variables, partition=0).expand_all(self.cdp_urls)
        return tuple(url for url, other in zip(own, of_all, strict=True) if url != other)


def _known(key: str) -> str:
    """Raises:
    ConfigurationError: there is no such setting.
    """
    if key in SETTINGS:
        return key
    near = difflib.get_close_matches(key.strip().lower().replace("_", "-"), SETTINGS, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(SETTINGS))}"
    raise ConfigurationError(f"there is no setting {key[:60]!r}; {hint}")


def _read(setting: Setting, text: str) -> object:
    if len(text) > MAX_TEXT:
        raise ConfigurationError(f"{setting.key}: longer than {MAX_TEXT} characters")
    try:
        return setting.read(text)
    except ValueError as error:
        raise ConfigurationError(f"{setting.key}: {error}") from error
