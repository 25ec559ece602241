"""The smallest programs that serve a classifier elsewhere; run by `benchmarks.speed.serving` only.

Each runs in an environment of its own and is told by environment variables (`classify`) what to run.
"""
