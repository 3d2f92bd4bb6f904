"""PDUs of what there is most of, without an object for each of their parts.

References
----------
P-DATA-TF: DICOM PS3.8, 9.3.5.
"""

import struct

from pynetdicom.dimse_primitives import C_STORE

from node.dicom import as_ui

P_DATA_TF = 0x04
"""A type of PDU (PS3.8, table 9-22)."""

Fragment = tuple[int, memoryview]
"""Presentation context; message control header with what it stands before (PS3.8, E.2)."""


def fragments_of(content: memoryview) -> list[Fragment]:
    """What the items of a P-DATA-TF carry, without a copy of it.

    Parameters
    ----------
    content : memoryview
        What stands behind the length of the PDU.

    Raises
    ------
    ValueError
        If the items do not fill it.
    """
    found, start, whole = [], 0, len(content)
    while start < whole:
        if whole - start < 6:
            raise ValueError(f"{whole - start} bytes behind the items of a PDU")
        length, context = struct.unpack_from(">LB", content, start)
        end = start + 4 + length
        if length < 2 or end > whole:
            raise ValueError(f"an item of {length} bytes in a PDU of {whole}")
        found.append((context, content[start + 5 : end]))
        start = end
    return found


def p_data_tf(context: int, header: int, value: bytes) -> bytes:
    """A PDU with one fragment.

    Parameters
    ----------
    context : int
        The presentation context.
    header : int
        The message control header (PS3.8, E.2).
    value : bytes
    """
    length = len(value) + 2
    return struct.pack(">BxLLBB", P_DATA_TF, length + 4, length, context, header) + value


def c_store_rsp(response: C_STORE) -> bytes:
    """The command set of a C-STORE-RSP (PS3.7, table 9.3-2), in implicit VR (PS3.7, 6.3.1)."""
    elements = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value
        for element, value in (
            (0x0002, as_ui(str(response.AffectedSOPClassUID))),
            (0x0100, struct.pack("<H", 0x8001)),
            (0x0120, struct.pack("<H", response.MessageIDBeingRespondedTo)),
            (0x0800, struct.pack("<H", 0x0101)),  # no dataset comes with it
            (0x0900, struct.pack("<H", response.Status)),
            (0x1000, as_ui(str(response.AffectedSOPInstanceUID))),
        )
    )
    return struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements
