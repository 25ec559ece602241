"""What several test files need that is no fixture."""
