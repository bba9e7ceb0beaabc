"""Columns that the lists of a CA's certificates have in common, in the words of the MMC."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext_lazy as lazy

from certwright.console.listing import Column

WHOSE: Final = (
    Column("request_id", lazy("Request ID"), css="cw-tight cw-num"),
    Column("requester", lazy("Requester Name"), css="cw-short"),
    Column("common_name", lazy("Issued Common Name"), css="cw-lead"),
    Column("template", lazy("Certificate Template"), css="cw-short"),
)
CONTENTS: Final = (
    Column("serial_number", lazy("Serial Number"), css="cw-tight cw-hide-s"),
    Column("binary", lazy("Binary Certificate"), css="cw-tight cw-hide-s", sortable=False, off=True),
    Column("alternative_names", lazy("Subject Alternative Name"), css="cw-wrap", off=True),
    Column("key", lazy("Key"), css="cw-tight", sortable=False, off=True),
    Column("method", lazy("Came by"), css="cw-tight", off=True),
    Column("message", lazy("Request Disposition Message"), css="cw-wrap", off=True),
)
WANTED: Final = (
    *("request_id", "requester", "common_name", "subject", "template", "not_before", "not_after", "serial_number"),
    *("alternative_names", "key_algorithm", "key_size", "method", "message"),
)
"""What these lists ask the CA for."""
