"""Offline: phantoms, training, evaluation and export of the two-stage model."""
