"""One TorchServe: its life, its ports and tokens, and talking to it."""
