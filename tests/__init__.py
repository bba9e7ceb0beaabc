"""`unit` mirrors the source, `contract` is one suite per interface, `peers` are other people's programs."""
