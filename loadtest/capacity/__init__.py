"""The capacity of a running server: found in an open loop, written down, drawn, compared."""
