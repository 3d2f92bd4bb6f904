"""How an object is to be encoded for a destination, as that is configured."""

from collections.abc import Iterable

from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from node.settings import Destination, TransferSyntax

PICTURES = (SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage)
"""SOP classes of results that have pixels."""

_SYNTAXES = {
    TransferSyntax.EXPLICIT: ExplicitVRLittleEndian,
    TransferSyntax.IMPLICIT: ImplicitVRLittleEndian,
    TransferSyntax.RLE: RLELossless,
    TransferSyntax.JPEG_LS: JPEGLSLossless,
    TransferSyntax.JPEG_2000: JPEG2000Lossless,
}


def wanted_by(peer: Destination, sop_class: str) -> UID | None:
    """The transfer syntax that a destination wants objects of a class in; None: as they are."""
    syntax = _SYNTAXES.get(peer.transfer_syntax)
    if syntax is None or (syntax.is_encapsulated and sop_class not in PICTURES):
        return None
    return syntax


def proposed_to(peer: Destination, sop_class: str, syntaxes: Iterable[str]) -> list[str]:
    """The transfer syntaxes to propose for a class: what is wanted, and what there is."""
    wanted = wanted_by(peer, sop_class)
    return list(dict.fromkeys([*([] if wanted is None else [str(wanted)]), *syntaxes]))
