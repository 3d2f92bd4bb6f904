"""What can go wrong while results are built."""

from ml.errors import IchnodeError


class ReportError(IchnodeError):
    """Results cannot be built from a judgement, or are not what they should be."""


class ResultHeld(ReportError):
    """A result does not pass the self-check: it is kept, and not sent."""
