"""CEP, the Certificate Enrollment Policy Web Service: which certificates a caller may have, and where. [MS-XCEP]."""
