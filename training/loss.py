"""The loss that both stages learn by, which is RSNA's measure too.

References
----------
RSNA Intracranial Hemorrhage Detection challenge (2019): binary log loss, in
which ``any`` counts twice.
"""

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from ml.labels import LABELS, Label

WEIGHTS = np.array([2.0 if label is Label.ANY else 1.0 for label in LABELS]) / (len(LABELS) + 1)
"""Share of each label in the loss, sum 1."""


def slice_losses(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted log loss of every slice.

    Parameters
    ----------
    logits, labels : torch.Tensor
        Shape (n, 6); labels are between 0 and 1 where slices were mixed.
    weights : torch.Tensor
        `WEIGHTS` on the device of the logits.

    Returns
    -------
    torch.Tensor
        float32, shape (n,).
    """
    return binary_cross_entropy_with_logits(logits.float(), labels, reduction="none") @ weights
