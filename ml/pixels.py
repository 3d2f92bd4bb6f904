"""Stored pixel values to Hounsfield units (HU)."""

import math
from dataclasses import dataclass

import numpy as np

from ml.errors import PixelError

AIR_HU = -1024
"""What padding becomes, and the least HU that is kept."""

_INT16_MAX = 32767


@dataclass(frozen=True)
class Scaling:
    """How the stored values of a frame become HU.

    Parameters
    ----------
    slope, intercept : float
        Rescale Slope (0028,1053) and Rescale Intercept (0028,1052).
    bits_stored : int
        Bits Stored (0028,0101).
    signed : bool
        Pixel Representation (0028,0103) is 1.
    padding : tuple of int, optional
        First and last stored value that is padding, from Pixel Padding Value
        (0028,0120) and Pixel Padding Range Limit (0028,0121).

    Raises
    ------
    PixelError
        If slope or intercept is not a usable number.

    Notes
    -----
    The photometric interpretation has no part in this: MONOCHROME1 inverts
    what is shown, after the modality transformation (PS3.3, C.7.6.3.1.2).
    """

    slope: float
    intercept: float
    bits_stored: int
    signed: bool
    padding: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept)) or self.slope == 0:
            raise PixelError(
                f"rescale slope {self.slope} and intercept {self.intercept} give no HU"
            )

    @property
    def intercept_is_wrong(self) -> bool:
        """Whether the intercept cannot be true.

        Twelve unsigned bits with an intercept near zero cannot express air.
        RSNA's set has such series: the values are two's complement numbers
        that wrapped at 4096, already in HU.
        """
        return self.bits_stored == 12 and not self.signed and self.intercept > -100

    def to_hu(self, stored: np.ndarray) -> np.ndarray:
        """Turn stored values into HU.

        Parameters
        ----------
        stored : numpy.ndarray
            Integers as decoded, any shape.

        Returns
        -------
        numpy.ndarray
            int16, the same shape, in HU, not below `AIR_HU`.
        """
        if (shifted := self._shifted(stored)) is not None:
            return shifted
        wide = stored.astype(np.int32)
        if self.intercept_is_wrong:
            hu = np.where(wide >= 3096, wide - 4096, wide)
        elif self.slope == 1 and float(self.intercept).is_integer() and abs(self.intercept) < 1e6:
            hu = wide + int(self.intercept)
        else:
            hu = np.rint(wide * self.slope + self.intercept)
        if self.padding is not None:
            first, last = self.padding
            hu = np.where((wide >= first) & (wide <= last), AIR_HU, hu)
        return hu.clip(AIR_HU, _INT16_MAX).astype(np.int16)

    def _shifted(self, stored: np.ndarray) -> np.ndarray | None:
        """The usual case in 16 bits, several times as fast: a slope of 1 and a whole intercept.

        None if it is another. What clipping leaves is in the range of HU once it is
        shifted, so that to add modulo 65536 is to add.
        """
        if self.intercept_is_wrong or self.slope != 1 or not float(self.intercept).is_integer():
            return None
        if stored.dtype not in (np.int16, np.uint16):
            return None
        kind, shift = np.iinfo(stored.dtype), int(self.intercept)
        least, most = max(AIR_HU - shift, kind.min), min(_INT16_MAX - shift, kind.max)
        if least > most:
            return None
        hu = stored.clip(least, most).view(np.uint16)
        hu += np.uint16(shift % 65536)
        hu = hu.view(np.int16)
        if self.padding is not None:
            first, last = self.padding
            if max(first, kind.min) <= min(last, kind.max):
                padded = (stored >= max(first, kind.min)) & (stored <= min(last, kind.max))
                np.copyto(hu, AIR_HU, where=padded)
        return hu


def padding_range(
    value: int | None, limit: int | None, *, bits_allocated: int, signed: bool
) -> tuple[int, int] | None:
    """First and last stored value that is padding.

    Writers often encode a negative padding value as an unsigned one; it is
    read in the signedness of the pixels, as PS3.5, 6.2 (VR "US or SS") demands.
    """
    if value is None:
        return None
    ends = [
        _as_stored(v, bits_allocated, signed) for v in (value, value if limit is None else limit)
    ]
    return min(ends), max(ends)


def _as_stored(value: int, bits: int, signed: bool) -> int:
    wrapped = value % (1 << bits)
    return wrapped - (1 << bits) if signed and wrapped >= 1 << (bits - 1) else wrapped
