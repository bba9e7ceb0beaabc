"""WHAT is asked: bytes and attributes in, one `EnrollmentRequest` out. Never decides. [MS-WCCE] 3.2.1.4.2.1.4."""
