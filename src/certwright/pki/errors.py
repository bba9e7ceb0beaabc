"""What the parsers of this room raise, and nothing else."""

from __future__ import annotations


class EncodingError(ValueError):
    """The bytes are not what they are said to be. The message says what was expected and what stood there."""


class TooLarge(EncodingError):
    """The input is longer, deeper or has more elements than the limit of whoever reads it."""


class DuplicateAttribute(EncodingError):
    """An attribute or extension that may stand once stands twice. [MS-WCCE] 3.2.1.4.2.1.4.2."""


class SignatureError(ValueError):
    """A signature does not verify."""


class WeakAlgorithm(SignatureError):
    """A signature was made with an algorithm that proves nothing any more (MD5, SHA-1) or that we do not know."""
