"""What can be wrong with training material; each message says what to do."""

from ml.errors import IchnodeError


class TrainingError(IchnodeError):
    """A step of the training cannot do its work with what it got."""
