"""The directory: principals, groups, certificate templates and enrollment services.

One interface (`directory.base.Directory`), implemented by the embedded directory (`directory.local`) and, in a
domain, by Active Directory. The engine and `auth` know `directory.base` only; the implementation is handed in.
"""
