"""WHETHER a certificate is issued, and with which contents. Never sees bytes. [MS-WCCE] 3.2.2.6.2.1.4."""
