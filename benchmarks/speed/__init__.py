"""How fast it is, beside what bounds it and beside its peers."""
