"""The one typed model of the configuration: ``ichnode.toml``, then ``ICHNODE_*``.

fields.py       kinds of values that many keys take
sections.py     the short sections, one for each part of the node
audit.py        [audit]: where the audit trail goes
log.py          [log]: what the parts of a node write to stderr
eligibility.py  [eligibility]: which series the model may judge
notify.py       [[notify]], [smtp]: who is told of what, and how
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
from node.settings.eligibility import EligibilitySettings
from node.settings.load import load_settings
from node.settings.log import LogForm, LogLevel, LogSettings
from node.settings.notify import Detail, MailSecurity, NotifyRule, Occasion, SmtpSettings, Way
from node.settings.report import CaptureForm, Compression, Notices, ReportForm, ReportSettings
from node.settings.retention import RetentionSettings
from node.settings.sections import (
    AnalyzeSettings,
    AssembleSettings,
    BrokerSettings,
    DeliverSettings,
    Destination,
    DicomSettings,
    LedgerSettings,
    ModelSettings,
)
from node.settings.security import ClientCertificates, Peer, TakesTLS, TLSSettings
from node.settings.shadow import DriftSettings, ShadowSettings
from node.settings.web import WebSettings
from node.settings.whole import Settings

__all__ = [
    "AnalyzeSettings",
    "AssembleSettings",
    "AuditSettings",
    "BrokerSettings",
    "CaptureForm",
    "ClientCertificates",
    "Compression",
    "DeliverSettings",
    "Destination",
    "Detail",
    "DicomSettings",
    "DriftSettings",
    "EligibilitySettings",
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
    "ReportForm",
    "ReportSettings",
    "RetentionSettings",
    "Settings",
    "ShadowSettings",
    "SmtpSettings",
    "TLSSettings",
    "TakesTLS",
    "Way",
    "WebSettings",
    "load_settings",
]
