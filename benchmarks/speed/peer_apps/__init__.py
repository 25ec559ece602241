"""The smallest programs that serve a classifier with other servers; run by `benchmarks.speed.serving` only.

Each runs in an environment of its own and learns from environment variables (`classify`) what to run.
"""
