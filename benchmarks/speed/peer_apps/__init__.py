"""The smallest programs that serve a classifier with other servers, for `benchmarks.speed.serving`.

Each runs in an environment of its own and learns from environment variables (`classify`) what to run.
"""
