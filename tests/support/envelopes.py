"""Complete SOAP envelopes of enrollment, and the schemas they follow; see `tests/vectors/soap/README.md`."""

from __future__ import annotations

import functools
from pathlib import Path

from lxml import etree

_VECTORS = Path(__file__).parents[1] / "vectors"
_XCEP = "http://schemas.microsoft.com/windows/pki/2009/01/enrollmentpolicy"
_SCHEMAS = {
    _XCEP: "xcep.xsd",
    "http://docs.oasis-open.org/ws-sx/ws-trust/200512": "wstrust-wstep-profile.xsd",
    "http://www.w3.org/2003/05/soap-envelope": "soap12-fault-profile.xsd",
}


def names() -> list[str]:
    return sorted(path.stem for path in (_VECTORS / "soap").glob("*.xml"))


def example(name: str) -> bytes:
    return (_VECTORS / "soap" / f"{name}.xml").read_bytes()


def validate(envelope: bytes) -> None:
    """The one element of a body against its schema.

    Raises:
        AssertionError: it does not follow it; the message says where.
    """
    root = etree.fromstring(envelope)
    body = root.find("{http://www.w3.org/2003/05/soap-envelope}Body")
    assert body is not None
    assert len(body) == 1
    schema = _schema(_SCHEMAS[etree.QName(body[0]).namespace])
    document = etree.fromstring(etree.tostring(body[0]))
    assert schema.validate(document), schema.error_log


@functools.cache
def _schema(name: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(_VECTORS / "schemas" / name))
