"""Write descriptors.json and access.json: `python3 make_vectors.py` where Samba's Python bindings are."""

from __future__ import annotations

import json
import random
from pathlib import Path

import samba
from samba.dcerpc import security
from samba.ndr import ndr_pack
from samba.security import access_check

DOMAIN = "S-1-5-21-1004336348-1177238915-682003330"
ENROLL = "0e10c968-78fb-11d2-90d4-00c04f79dc55"
AUTOENROLL = "a05b8cc2-17bc-4802-a710-e7c15ab866a2"
DESCRIPTORS = (
    "O:BAG:BAD:",
    "D:(A;;CCDC;;;BA)(A;;0x200;;;AU)",
    "O:BAG:BAD:(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;BA)(A;;0x201;;;DA)(A;;0x100;;;WD)",
    f"O:EAG:EAD:PAI(OA;;RPWPCR;{ENROLL};;DA)(OA;;RPWPCR;{ENROLL};;EA)(OA;;CR;{ENROLL};;DU)"
    "(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;DA)(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;EA)(A;;LCRPLORC;;;AU)",
    f"O:EAG:EAD:AI(OD;;CR;{ENROLL};;BG)(OA;;CR;{AUTOENROLL};;DC)(OA;CIIOID;CR;;bf967aba-0de6-11d0-a285-00aa003049e2;DD)",
    f"D:ARAI(OA;CIID;CR;{ENROLL};bf967aba-0de6-11d0-a285-00aa003049e2;S-1-5-21-1-2-3-1105)(D;OICINP;GAGRGWGX;;;AN)",
    "O:SYG:SYD:P(A;OICI;FRFW;;;SY)(A;OICIIO;GA;;;CO)S:AI(AU;SAFA;WDWO;;;WD)(OU;CISA;WP;f30e3bbe-9ff0-11d1-b603-0000f80367c1;;WD)",
    "O:LAG:DUD:(A;;RC;;;LG)(A;;RC;;;DG)(A;;RC;;;CA)(A;;RC;;;SA)(A;;RC;;;PA)(A;;RC;;;RS)(A;;RC;;;ED)(A;;RC;;;PS)"
    "(A;;RC;;;CG)(A;;RC;;;IU)(A;;RC;;;NU)(A;;RC;;;SU)(A;;RC;;;RC)(A;;RC;;;BU)(A;;RC;;;PU)(A;;RC;;;AO)(A;;RC;;;BO)"
    "(A;;RC;;;PO)(A;;RC;;;SO)(A;;RC;;;RE)(A;;RC;;;RU)(A;;RC;;;RD)(A;;RC;;;NO)(A;;RC;;;LS)(A;;RC;;;NS)",
)
TRUSTEES = ("WD", "AU", "BA", "DA", "DU", f"{DOMAIN}-1101")
FLAGS = ("", "", "CI", "CIIO")
RIGHTS = (0x1, 0x2, 0x100, 0x200, 0x301, 0x30F)


def describe() -> list[dict[str, str]]:
    domain = security.dom_sid(DOMAIN)
    return [
        {"sddl": text, "hex": ndr_pack(security.descriptor.from_sddl(text, domain)).hex()} for text in DESCRIPTORS
    ]


def check() -> list[dict[str, object]]:
    """Random plain lists, asked for each bit by random callers."""
    domain, dice, found = security.dom_sid(DOMAIN), random.Random(1), []
    sids = {name: str(security.descriptor.from_sddl(f"O:{name}", domain).owner_sid) for name in TRUSTEES}
    for _ in range(150):
        entries = "".join(
            f"({dice.choice('AAD')};{dice.choice(FLAGS)};{dice.choice(RIGHTS):#x};;;{dice.choice(TRUSTEES)})"
            for _ in range(dice.randint(0, 6))
        )
        caller = sorted({sids[name] for name in dice.sample(TRUSTEES, dice.randint(1, 4))})
        token = security.token()
        token.sids = [security.dom_sid(sid) for sid in caller]
        token.num_sids = len(caller)
        descriptor = security.descriptor.from_sddl(f"O:SYG:SYD:{entries}", domain)
        granted = 0
        for bit in (0x1, 0x2, 0x100, 0x200):
            try:
                access_check(descriptor, token, bit)
                granted |= bit
            except samba.NTSTATUSError:
                continue
        found.append({"sddl": f"D:{entries}", "sids": caller, "granted": granted})
    return found


def main() -> None:
    here = Path(__file__).parent
    for name, rows in (("descriptors", describe()), ("access", check())):
        lines = ",\n".join("  " + json.dumps(row) for row in rows)
        (here / f"{name}.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
