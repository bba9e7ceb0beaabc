"""What two CAs of one database record together is there for both or for none: on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.properties import CaType
from certwright.audit.trail import AuditTrail
from certwright.ca.configuration import CaConfiguration
from certwright.ca.installation import install_root, install_subordinate, issuing, root
from certwright.ca.renewal import Renewal, renew_subordinate
from certwright.ca.store import SqlCaDatabase, create_ca
from certwright.ca.transaction import SqlCaTransaction
from certwright.database import Database
from certwright.keystores.base import KeyAlgorithm
from certwright.keystores.sealing import Sealer
from certwright.keystores.software import SoftwareKeyStore
from certwright.pki.certificate import CertificateView
from tests.support.installed import ADMINISTRATOR, HOST, Clock
from tests.support.tables import new_sqlite_url

P256 = KeyAlgorithm.ECDSA_P256
_numbers = count(1)


class Two:
    """A root and a CA below it that has no certificate yet."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.audit = AuditTrail(database)
        self.keys = SoftwareKeyStore(folder / "keys", Sealer.create(folder / "master.key"))
        self.clock = Clock()
        number = next(_numbers)
        names = f"Root {number}", f"Below {number}"
        self.root, self.below = (
            SqlCaDatabase(database, self.audit, self._row(database, name, kind, parent))
            for name, kind, parent in (
                (names[0], CaType.STANDALONE_ROOT, ""),
                (names[1], CaType.ENTERPRISE_SUBORDINATE, names[0]),
            )
        )
        install_root(self.root, self.keys, root("root", P256), ADMINISTRATOR, self.clock())

    @staticmethod
    def _row(database: Database, name: str, kind: CaType, parent: str) -> int:
        settings = CaConfiguration.for_new_ca(kind, dns_name=HOST).as_settings()
        with database.transaction() as connection:
            return create_ca(connection, name, kind, parent, settings)

    def install(self) -> None:
        new = issuing("below", P256)
        install_subordinate(self.root, self.below, self.keys, new, ADMINISTRATOR, self.clock())

    def renew(self) -> None:
        renewal = Renewal(issuing("", P256).validity, ("below-2", P256))
        renew_subordinate(self.root, self.below, self.keys, renewal, ADMINISTRATOR, self.clock())


@pytest.fixture(params=["sqlite", "postgresql"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Two]:
    if request.param == "sqlite":
        url = new_sqlite_url(tmp_path, "ca.db")
    else:
        url = request.getfixturevalue("shared_postgresql")
    database = Database.open(url)
    yield Two(database, tmp_path)
    database.close()


def fail_at_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signing CA's rows are written, those of the CA below are about to be."""
    real: Callable[[SqlCaTransaction], None] = SqlCaTransaction.flush

    def flush(self: SqlCaTransaction) -> None:
        real(self)
        if self.ca().name.startswith("Below"):
            raise ConfigurationError("the process ends here")

    monkeypatch.setattr(SqlCaTransaction, "flush", flush)


def test_an_installation_is_on_record_in_both(two: Two) -> None:
    two.install()

    (certificate,) = two.below.ca().certificates
    serial = CertificateView.parse(certificate.der).serial_number
    assert two.root.request_by_serial(serial) is not None
    assert two.below.request_by_serial(serial) is not None
    assert not two.audit.verify().broken


def test_half_an_installation_is_none(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        fail_at_the_second(patched)
        with pytest.raises(ConfigurationError, match="ends here"):
            two.install()

    assert two.root.request(2) is None
    assert not two.below.ca().certificates
    assert not two.keys.exists("below")
    two.install()
    assert two.below.ca().certificates


def test_half_a_renewal_is_none(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    two.install()
    with monkeypatch.context() as patched:
        fail_at_the_second(patched)
        with pytest.raises(ConfigurationError, match="ends here"):
            two.renew()

    assert two.root.request(3) is None
    assert len(two.below.ca().certificates) == 1
    assert not two.keys.exists("below-2")
    two.renew()
    assert [each.key_index for each in two.below.ca().certificates] == [0, 1]
