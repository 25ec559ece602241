"""What an engine answers. Needs neither PyTorch nor OpenVINO."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]  # (N, ...)


class Outputs(NamedTuple):
    """What the network computes for N photos; its input is S pixels wide and high.

    Attributes:
        scores: (N, classes) log-probabilities.
        features: (N, 1280), the maps' means, which the head reads; None where the graph of an older
            archive doesn't give them.
        maps: (N, 1280, S/32, S/32) of the last feature block; None where not asked for, or as above.
    """

    scores: Rows
    features: Rows | None = None
    maps: Rows | None = None
