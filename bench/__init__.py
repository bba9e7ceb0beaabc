"""Speed as ratios taken in one run: `python -m bench`, or `make bench`.

Absolute rates drift by a factor of two on shared machines and are printed for information only. A bound is always a
ratio to something measured in the same round: raw signing, another implementation, a static file.
"""
