"""Workitems to a DICOMweb server: UPS-RS.

References
----------
Create and Request Cancellation transactions: DICOM PS3.18, 11.4 and 11.8.
"""

from http import HTTPStatus
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from ml.errors import first_line
from node.deliver import workitem
from node.deliver.association import NotTakenError
from node.dicomweb import DICOMwebError, Web
from node.errors import ConfigError, DeliveryError
from node.settings import DeliverSettings, Destination

_OF_A_WORKITEM = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.NOT_IMPLEMENTED,
)
"""Answers that say nothing of other objects: a server that stores them may keep no worklist."""


def create_on_web(peer: Destination, path: Path, rules: DeliverSettings) -> str | None:
    """Have a workitem created, and those canceled that it replaces.

    Parameters
    ----------
    peer : Destination
        One with a URL.
    path : pathlib.Path
        Its file.
    rules : DeliverSettings

    Returns
    -------
    str, optional
        A remark where it is created, and not without one.

    Raises
    ------
    NotTakenError
        If the server answers that it has not created it, or it cannot be read.
    DeliveryError
        If the server is ill: other objects would fare no better.
    """
    try:
        item = pydicom.dcmread(path)
        uid, content = str(item.SOPInstanceUID), workitem.to_create(item).to_json_dict()
        content["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # JSON is UTF-8 (PS3.18, F.2)
    except (OSError, ValueError, AttributeError, InvalidDicomError) as error:
        raise NotTakenError(f"{path.name} cannot be read: {first_line(error)}") from error
    try:
        with Web(peer, rules.timeout_s) as web:
            answer = web.create_workitem(uid, content)
            became = [_cancel(web, before) for before in workitem.replaced_by(item)]
    except ConfigError as error:
        raise DeliveryError(f"{peer.where} cannot be reached: {error}") from error
    except DICOMwebError as error:
        what = f"{peer.where}: {error}"
        if error.status in _OF_A_WORKITEM:
            raise NotTakenError(what) from error
        raise DeliveryError(what, error.after_s) from error
    remark = workitem.MODIFIED if answer.has_warning else None
    if answer.status == HTTPStatus.CONFLICT:
        remark = workitem.THERE_BEFORE
    return workitem.told(remark, became)


def _cancel(web: Web, uid: str) -> str:
    """Ask for a workitem to be canceled; what becomes of it.

    Raises
    ------
    DICOMwebError
        If the server is ill.
    """
    try:
        status = web.cancel_workitem(uid, workitem.cancellation().to_json_dict())
    except DICOMwebError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return workitem.NOT_THERE
        if error.status not in _OF_A_WORKITEM:
            raise
        status = error.status
    if status in _OF_A_WORKITEM:
        return f"{workitem.STAYS}: {status}"
    return workitem.ASKED
