"""What TorchServe calls: request bodies in, answers out. Ships inside the archive."""
