"""How fast it is, compared with its limits and its peers."""
