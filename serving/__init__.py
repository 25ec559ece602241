"""Archives, the server's life, and versions: everything between a bundle and an answer over HTTP."""
