"""The one typed model of the configuration: ``ichnode.toml``, then ``ICHNODE_*``.

fields.py       kinds of values that many keys take
sections.py     the short sections, one for each part of the node
audit.py        [audit]: where the audit trail goes
called.py       whom the node calls, in [[destinations]] and [[sources]]
condition.py    which series something is for, in [[routes]] and [[priorities]]
destination.py  [[destinations]]: who results are sent to
fetch.py        [[sources]], [fetch]: whom series are fetched from, and which
log.py          [log]: what the parts of a node write to stderr
route.py        [[routes]]: which results go where
kind.py         the kinds of objects that are made of a series
dicomweb.py     [dicomweb]: where instances come in by STOW-RS, and who may send
feedback.py     [feedback]: where radiologists' labels come in by HL7 v2
eligibility.py  [eligibility]: which series the model may judge
notify.py       [[notify]], [smtp]: who is told of what, and how
priority.py     [[priorities]]: which series go before others
report.py       [report]: which results are made, and in what form
retention.py    [retention]: how long what has ended is kept
security.py     [[peers]], [dicom.tls]: who may talk to the node; files with secrets
shadow.py       [shadow], [drift]: a second model, and what is compared over time
web.py          [web]: where the page listens, and who may look at it
whole.py        all sections together
load.py         from file and environment; one line on what is wrong

The defaults run on one machine with nothing else installed.
"""

from node.settings.audit import AuditSettings
from node.settings.called import Application, Called
from node.settings.condition import Condition
from node.settings.destination import Destination, TransferSyntax
from node.settings.dicomweb import DicomwebSettings
from node.settings.eligibility import EligibilitySettings
from node.settings.feedback import FeedbackSettings
from node.settings.fetch import FetchSettings, Retrieve, SourceSettings
from node.settings.kind import IN_FORMS, Kind
from node.settings.load import load_settings
from node.settings.log import LogForm, LogLevel, LogSettings
from node.settings.notify import (
    MLLP,
    Detail,
    MailSecurity,
    NotifyRule,
    Occasion,
    SmtpSettings,
    Way,
)
from node.settings.priority import ROUTINE, PriorityRule
from node.settings.report import CaptureForm, Compression, Notices, ReportForm, ReportSettings
from node.settings.retention import RetentionSettings
from node.settings.route import SENDER, Flagged, Route
from node.settings.sections import (
    AnalyzeSettings,
    AssembleSettings,
    BrokerSettings,
    DeliverSettings,
    DicomSettings,
    LedgerSettings,
    ModelSettings,
)
from node.settings.security import ClientCertificates, Peer, TakesTLS, TLSSettings
from node.settings.shadow import DriftSettings, ShadowSettings
from node.settings.web import WebSettings
from node.settings.whole import Settings

__all__ = [
    "IN_FORMS",
    "MLLP",
    "ROUTINE",
    "SENDER",
    "AnalyzeSettings",
    "Application",
    "AssembleSettings",
    "AuditSettings",
    "BrokerSettings",
    "Called",
    "CaptureForm",
    "ClientCertificates",
    "Compression",
    "Condition",
    "DeliverSettings",
    "Destination",
    "Detail",
    "DicomSettings",
    "DicomwebSettings",
    "DriftSettings",
    "EligibilitySettings",
    "FeedbackSettings",
    "FetchSettings",
    "Flagged",
    "Kind",
    "LedgerSettings",
    "LogForm",
    "LogLevel",
    "LogSettings",
    "MailSecurity",
    "ModelSettings",
    "Notices",
    "NotifyRule",
    "Occasion",
    "Peer",
    "PriorityRule",
    "ReportForm",
    "ReportSettings",
    "RetentionSettings",
    "Retrieve",
    "Route",
    "Settings",
    "ShadowSettings",
    "SmtpSettings",
    "SourceSettings",
    "TLSSettings",
    "TakesTLS",
    "TransferSyntax",
    "Way",
    "WebSettings",
    "load_settings",
]
