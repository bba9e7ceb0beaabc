"""A two-tier installation in memory: root and issuing CA, made by the product's own installation, with EC keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from certwright.adcs.properties import CaType
from certwright.adcs.requester import BUILTIN_ADMINISTRATORS, AuthMethod, Requester, Sid
from certwright.adcs.template import CertificateTemplate
from certwright.ca.authority import Authority
from certwright.ca.configuration import CaConfiguration
from certwright.ca.generation import GenerationSource
from certwright.ca.installation import install_root, install_subordinate, issuing, root
from certwright.directory.base import Principal
from certwright.keystores.base import KeyAlgorithm
from certwright.keystores.sealing import Sealer
from certwright.keystores.software import SoftwareKeyStore
from tests.support.fake_directory import DOMAIN_SID, FakeDirectory
from tests.support.memory_ca_database import MemoryCaDatabase

ROOT_NAME = "Corp Root CA"
ISSUING_NAME = "Corp Issuing CA"
HOST = "ca.corp.example"
ADMINISTRATOR = Requester(
    r"CORP\Administrator",
    Sid(f"{DOMAIN_SID}-500"),
    frozenset({BUILTIN_ADMINISTRATORS, Sid(f"{DOMAIN_SID}-512")}),
    AuthMethod.LOCAL,
)


@dataclass
class Clock:
    """A clock that stands until somebody turns it."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=123_456))

    def __call__(self) -> datetime:
        return self.now

    def turn(self, by: timedelta) -> None:
        self.now += by


@dataclass
class TwoTier:
    """Both CAs with their rows, and an `Authority` over each."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    principals: Iterable[Principal] = ()
    templates: Iterable[CertificateTemplate] = ()

    def __post_init__(self) -> None:
        self.keys = SoftwareKeyStore(self.folder / "keys", Sealer.create(self.folder / "master.key"))
        self.root_database = _vacant(ROOT_NAME, CaType.STANDALONE_ROOT, "")
        self.database = _vacant(ISSUING_NAME, CaType.ENTERPRISE_SUBORDINATE, ROOT_NAME)
        self.directory = FakeDirectory(self.principals, self.templates)
        self.directory.publish(ISSUING_NAME, host=HOST)

    def install(self) -> TwoTier:
        now, algorithm = self.clock(), KeyAlgorithm.ECDSA_P256
        install_root(self.root_database, self.keys, root("root", algorithm), ADMINISTRATOR, now)
        install_subordinate(
            self.root_database, self.database, self.keys, issuing("issuing", algorithm), ADMINISTRATOR, now
        )
        return self

    def authority(self, database: MemoryCaDatabase | None = None) -> Authority:
        """The issuing CA's, unless another database is named."""
        database = database or self.database
        generations = GenerationSource(database, self.keys.open, DOMAIN_SID)
        return Authority(database, self.directory, generations, clock=self.clock)


def _vacant(name: str, ca_type: CaType, parent: str) -> MemoryCaDatabase:
    return MemoryCaDatabase(name, ca_type, parent, CaConfiguration.for_new_ca(ca_type, dns_name=HOST).as_settings())
