"""Where CRLs, CA certificates and responders are found: URLs with variables, and the file names that go with them.

The variables are those of CRLPublicationURLs and CACertPublicationURLs (celib.h, wszFCSAPARM_*). A blank in a value
becomes %20; a percent sign of the administrator's own is written %%.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from certwright.pki.names import sanitized_name, sanitized_short_name

MAX_URLS: Final = 10
MAX_URL_LENGTH: Final = 1024
_SCHEMES: Final = ("http", "ldap", "file")
_VARIABLE: Final = re.compile(r"%(%|1[0-4]|[1-9])")
_KEPT: Final = "!()=,;:@/?&+-._~*'$"
"""Characters of values that URLs may hold as they are (RFC 3986 3.3); the rest is percent-encoded."""


@dataclass(frozen=True, slots=True)
class IssuanceUrls:
    """The URLs certificates of one CA certificate carry, ready to be encoded."""

    cdp: tuple[str, ...] = ()
    aia: tuple[str, ...] = ()
    ocsp: tuple[str, ...] = ()
    freshest: tuple[str, ...] = ()


NO_URLS: Final = IssuanceUrls()


def parse_urls(text: str) -> tuple[str, ...]:
    """A setting's URLs, separated by blanks; variables stay in them.

    Raises:
        ValueError: too many, too long, no URL, another scheme, or a variable that does not exist.
    """
    urls = tuple(text.split())
    if len(urls) > MAX_URLS:
        raise ValueError(f"at most {MAX_URLS} URLs are possible")
    for url in urls:
        scheme, separator, rest = url.partition("://")
        if scheme.lower() == "https":
            raise ValueError(f"{url}: clients fetch revocation information over http, never over https")
        if not separator or not rest or scheme.lower() not in _SCHEMES:
            raise ValueError(f"{url} is no URL that starts with http://, ldap:// or file://")
        if len(url) > MAX_URL_LENGTH or not (url.isascii() and url.isprintable()):
            raise ValueError(f"{url[:80]}... is longer than {MAX_URL_LENGTH} characters or not plain ASCII")
        _check_variables(url)
    return urls


def _check_variables(url: str) -> None:
    at = 0
    while (at := url.find("%", at)) >= 0:
        found = _VARIABLE.match(url, at)
        if found is None or (found[1] != "%" and url[found.end() : found.end() + 1].isdigit()):
            raise ValueError(
                f"{url}: {url[at : at + 3]} is no variable; there are %1 to %14, and a percent sign is written %%"
            )
        at = found.end()


@dataclass(frozen=True, slots=True)
class UrlVariables:
    """What the variables of one CA certificate and key stand for."""

    dns_name: str
    ca_name: str
    certificate_index: int = 0
    key_index: int = 0
    directory_dn: str = ""
    delta: bool = False
    partition: int = 0  # of the key's CRLs; 0: the list of everything

    def expand_all(self, urls: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(self.expand, urls))

    def expand(self, url: str) -> str:
        """Raises:
        ValueError: the URL needs `dns-name` or `directory-dn`, and this is not set.
        """
        return _VARIABLE.sub(lambda found: "%" if found[1] == "%" else quote(self.value(found[1]), safe=_KEPT), url)

    def value(self, variable: str) -> str:
        """The value of %1 to %14, by its number."""
        match variable:
            case "1":
                return self._needed(self.dns_name, "dns-name", variable)
            case "2":
                return self._needed(self.dns_name, "dns-name", variable).partition(".")[0].upper()
            case "3":
                return sanitized_name(self.ca_name)
            case "4":
                return index_suffix(self.certificate_index)
            case "5":
                return self._needed(self.directory_dn, "directory-dn", variable)
            case "6":
                return "CN=Configuration," + self._needed(self.directory_dn, "directory-dn", variable)
            case "7":
                return sanitized_short_name(self.ca_name)
            case "8":
                return index_suffix(self.key_index) + partition_suffix(self.partition)
            case "9":
                return "+" if self.delta else ""
            case "10":
                attribute = "deltaRevocationList" if self.delta else "certificateRevocationList"
                return f"?{attribute}?base?objectClass=cRLDistributionPoint"
            case _:
                return _ATTRIBUTE_SUFFIXES[variable]

    @staticmethod
    def _needed(value: str, setting: str, variable: str) -> str:
        if not value:
            raise ValueError(f"a URL uses %{variable}, but {setting} is not set")
        return value

    # -- files, as the default URLs name them

    @property
    def crl_file(self) -> str:
        """`%3%8%9.crl`."""
        return f"{self.value('3')}{self.value('8')}{self.value('9')}.crl"

    def cross_file(self, signer: int, holder: int) -> str:
        """`%1_%3(0-1).crt`: the key of certificate 0 signed that of certificate 1."""
        return f"{self.value('1')}_{self.value('3')}({signer}-{holder}).crt"

    @property
    def certificate_file(self) -> str:
        """`%1_%3%4.crt`."""
        return f"{self.value('1')}_{self.value('3')}{self.value('4')}.crt"


_ATTRIBUTE_SUFFIXES: Final = {  # RFC 4516 2: ?attribute?scope?filter
    "11": "?cACertificate?base?objectClass=certificationAuthority",
    "12": "?userCertificate?base?objectClass=*",
    "13": "?userCertificate?one?objectClass=msPKI-PrivateKeyRecoveryAgent",
    "14": "?crossCertificatePair?one?objectClass=certificationAuthority",
}


def index_suffix(index: int) -> str:
    """`(1)` for the second certificate or key of a CA; nothing for the first. [MS-WCCE] 3.2.1.4.3.2.39."""
    return f"({index})" if index else ""


def partition_suffix(partition: int) -> str:
    """`_Partition00001`; nothing for the list of everything. [MS-CSRA] 3.1.4.1.6, CRLPartitionIndex."""
    return f"_Partition{partition:05}" if partition else ""
