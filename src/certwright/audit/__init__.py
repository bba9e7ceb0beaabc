"""The audit trail: append-only, hash-chained per CA, with AD CS event numbers. [MS-CSRA] 3.1.4.2.11.

`trail.AuditTrail` writes, reads and verifies it. Nothing here changes or deletes an event.
"""
