"""What can go wrong while results are built."""

from ml.errors import IchnodeError


class ReportError(IchnodeError):
    """Results cannot be built from a judgement, or are not what they should be."""
