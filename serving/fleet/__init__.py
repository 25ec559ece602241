"""Several servers, and nginx in front of them."""
