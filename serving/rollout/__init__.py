"""Which versions are served, and changing that without losing a request."""
