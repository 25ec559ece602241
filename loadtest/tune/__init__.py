"""Settings of the server that suit this machine."""
