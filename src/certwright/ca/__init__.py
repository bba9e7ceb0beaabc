"""The Certification Authority role service. [MS-WCCE] 3.2 (server), [MS-CSRA] 3.1.

Laid out as [MS-WCCE] 3.2.1.4.2.1 describes the work: `intake` reads what is asked, `policy` decides whether and
with which contents, `issuance` prepares and signs, `revocation` takes back, `authority` tells the story.
"""
