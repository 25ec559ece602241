"""The network with its lower blocks frozen, and the learning rate of each block that isn't."""

import torch
from torch import Tensor, nn

from model.network import Network
from training.fit.schedule import BLOCKS


class PartiallyFrozen(nn.Module):
    """The network with its lower blocks frozen: no gradients, and batch-norm keeps its statistics."""

    def __init__(self, network: Network, trainable_blocks: int) -> None:
        """Let the head and the uppermost `trainable_blocks` feature blocks learn."""
        super().__init__()
        self.network = network
        self._frozen = BLOCKS - trainable_blocks
        for block in network.features[: self._frozen]:
            block.requires_grad_(False)
        for block in network.features[self._frozen :]:
            block.requires_grad_(True)
        self.train()

    def train(self, mode: bool = True) -> "PartiallyFrozen":
        """Leave the frozen blocks in evaluation mode."""
        super().train(mode)
        self.network.features[: self._frozen].eval()
        return self

    def forward(self, photos: Tensor) -> Tensor:
        """(N, 3, S, S) photos -> (N, classes) log-probabilities."""
        with torch.no_grad():
            maps = self.network.features[: self._frozen](photos)
        return self.network.classify(self.network.features[self._frozen :](maps))

    def groups(self, layer_decay: float) -> list[dict[str, object]]:
        """One group of parameters a block; `lr_scale` is its learning rate over the head's."""
        blocks = [self.network.head, *reversed(self.network.features[self._frozen :])]
        if layer_decay == 1:
            return [{"params": [p for block in blocks for p in block.parameters()], "lr_scale": 1.0}]
        return [
            {"params": list(block.parameters()), "lr_scale": layer_decay**depth}
            for depth, block in enumerate(blocks)
        ]
