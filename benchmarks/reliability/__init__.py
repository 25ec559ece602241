"""Whether it holds: hostile input, changes under load, crashes, monitoring."""
