"""Revocation, CRLs and their publication. [MS-CSRA] 3.1.4.1.6, 3.1.4.1.8."""
