"""What can be wrong with a series or a bundle; each message says what to do."""


class IchnodeError(Exception):
    """Base of every error that ichnode raises on purpose."""


class SeriesError(IchnodeError):
    """A series cannot be turned into a volume."""


class GeometryError(SeriesError):
    """The slices of a series cannot be ordered along the patient's axis."""


class PixelError(SeriesError):
    """The pixel data of a frame cannot be decoded or is not CT."""


class NotAHeadError(SeriesError):
    """The pixels of a series show something else than a head."""


class BundleError(IchnodeError):
    """A model bundle is missing, incomplete, altered or not understood."""


class DeviceError(IchnodeError):
    """A device to compute on was asked for by name and is not there."""


def first_line(error: BaseException) -> str:
    """What an error says, cut to one line, for messages that quote it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
