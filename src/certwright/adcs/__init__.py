"""The language of AD CS: the one door (`CertRequest`, `CertAdmin`) and the values that pass through it.

Names are Microsoft's own, in Python case ([MS-WCCE], [MS-CSRA], [MS-CRTD]). Every room above speaks these
types; this room knows no database, no network and no HTTP.
"""
