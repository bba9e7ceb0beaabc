"""Active Directory behind `directory.base.Directory`: principals, templates and enrollment services read by LDAP.

Works with Microsoft's and Samba's domain controllers; the host needs no membership of the domain. What is compiled
(bonsai for LDAP, python-gssapi) and dnspython are in the extra `active-directory` and imported when first used.
"""
