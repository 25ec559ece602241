"""The archive behind any ASGI server."""
