"""The smallest programs that serve a classifier with other servers; run by `benchmarks.serving` only.

Each runs in an environment of its own and is told by environment variables (`classify`) what to run.
"""
