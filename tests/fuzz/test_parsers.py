"""The parsers of what strangers send, under a coverage-guided fuzzer for some seconds each: nothing but their errors.

Bounded in count, time and length; an input that takes longer than two seconds counts as a crash. What it finds stands
in the message of the failure, to become a test of its own.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from certwright.pki import cmc, oids
from certwright.pki.cmc import PkiData
from certwright.pki.signed_data import SignedData
from tests.support import envelopes
from tests.support import requests as make
from tests.support.certificates import make_certificate
from tests.support.messages import by_certificate, by_new_key, in_cmc, in_cms, renewing
from tests.support.requests import ec_key, web_server_request

RUNS: Final = 20_000
SECONDS: Final = 8
TOO_LONG: Final = 2  # seconds for one input
LONGEST: Final = {"soap": 8192, "cms": 4096, "cmc": 4096}
ROOT: Final = Path(__file__).parents[2]


def seeds(name: str) -> list[bytes]:
    """Real messages: the fuzzer begins where clients end."""
    if name == "soap":
        return [envelopes.example(each) for each in envelopes.names()]
    key, old = ec_key("P-256", 51), make_certificate("CN=old.corp.example", serial=7)
    new = web_server_request("new.corp.example", key=key, attributes=[renewing(old)])
    pairs = (("CertificateTemplate", "WebServer"), ("rmd", "new.corp.example"))
    messages = [
        in_cms(new, by_certificate(key, old), certificates=(old,)),
        in_cmc(new, signings=(by_new_key(key),), pairs=pairs),
        in_cmc(new, signings=(by_new_key(key), by_certificate(key, old)), certificates=(old,)),
    ]
    if name == "cms":
        return [*messages, new]
    bare = [SignedData.parse(each).content or b"" for each in messages[1:]]
    control = cmc.Control(3, oids.CMC_ADD_ATTRIBUTES, (make.sequence(make.integer(0)),))
    return [*bare, PkiData((control,), ((1, new),)).encode()]


@pytest.mark.parametrize("name", ["soap", "cms", "cmc"])
def test_nothing_crashes_and_nothing_takes_long(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: it has no wheel for this platform")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(seed)

    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.targets", name, str(corpus)),
            *(f"-runs={RUNS}", f"-max_total_time={SECONDS}", f"-timeout={TOO_LONG}", f"-max_len={LONGEST[name]}"),
            *("-seed=1", f"-artifact_prefix={tmp_path}/"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )

    found = [path.read_bytes().hex() for path in tmp_path.iterdir() if path.is_file()]
    assert (done.returncode, found) == (0, []), done.stderr[-4000:]
    assert "Done " in done.stderr
