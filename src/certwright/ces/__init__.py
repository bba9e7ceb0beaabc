"""CES, the Certificate Enrollment Web Service: requests for certificates over HTTPS. [MS-WSTEP]."""
