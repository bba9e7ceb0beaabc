"""Where certificates say that CRLs, CA certificates and responders are found: asked on a clock, judged, remembered.

What pkiview shows of an enterprise, for our own CAs and for those of others that this installation orders from.
"""
