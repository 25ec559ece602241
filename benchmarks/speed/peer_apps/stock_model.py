"""The model file of TorchServe's stock archive: its manual wants one class that builds the network."""

from torchvision.models import MobileNetV2


class ImageClassifier(MobileNetV2):
    """torchvision's MobileNetV2, as it is."""
