"""Every code that a result carries, and where it was checked.

No validator knows SNOMED codes, so each one says here what it was seen with.
Context groups (CID) and templates (TID) are those of DICOM PS3.16.
"""

from pydicom.sr.coding import Code

from ml.labels import Label
from node.judgement import Assessment

FINDINGS: dict[Label, Code] = {
    # Seen once only, as epidural hemorrhage; 75063001 is used for epidural hematoma.
    Label.EPIDURAL: Code("82999001", "SCT", "Epidural hemorrhage"),
    # "Cerebral hemorrhage (disorder)" in several public mappings of stroke types.
    Label.INTRAPARENCHYMAL: Code("274100004", "SCT", "Cerebral hemorrhage"),
    # "Intraventricular hemorrhage (disorder)" in two independent public mappings; others
    # use 23276006, which elsewhere stands for hemorrhagic stroke.
    Label.INTRAVENTRICULAR: Code("274110009", "SCT", "Intraventricular hemorrhage"),
    # "Subarachnoid intracranial hemorrhage (disorder)", the same places.
    Label.SUBARACHNOID: Code("21454007", "SCT", "Subarachnoid intracranial hemorrhage"),
    # "Subdural intracranial hemorrhage" in a public ontology mapping of MR findings.
    Label.SUBDURAL: Code("35486000", "SCT", "Subdural intracranial hemorrhage"),
    # "Intracranial hemorrhage (disorder)" in pydicom's copy of PS3.16's concepts.
    Label.ANY: Code("1386000", "SCT", "Intracranial hemorrhage"),
}

# PS3.16, annex D; (111047, DCM, "Probability of cancer") is another thing.
PROBABILITY = Code("122157", "DCM", "Probability")

# Unified Code for Units of Measure. A probability of 93 % is "93 %" in a viewer that prints
# number and unit; as a fraction it would be "0.93 1".
PERCENT = Code("%", "UCUM", "Percent")

# TID 300: the derivation of a measurement, by CID 7464.
DERIVATION = Code("121401", "DCM", "Derivation")
MAXIMUM = Code("56851009", "SCT", "Maximum")

# CID 240, Present-Absent.
ASSESSMENTS: dict[Assessment, Code] = {
    Assessment.PRESENT: Code("52101004", "SCT", "Present"),
    Assessment.ABSENT: Code("272519000", "SCT", "Absent"),
    Assessment.INDETERMINATE: Code("373068000", "SCT", "Undetermined"),
}

# TID 1410: what a measurement group is about, and where that lies.
FINDING = Code("121071", "DCM", "Finding")
IMAGE_REGION = Code("111030", "DCM", "Image Region")
SOURCE = Code("260753009", "SCT", "Source")

# TID 1500, rows 4 and 6.
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")

# TID 1410: the container of what is said of one thing, and where it is.
MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")

# TID 4108: names of what is tracked.
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")

# TID 1600, Image Library.
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")

# CID 7000, title of the text report (TID 2000).
DIAGNOSTIC_IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")

# CID 7001, headings of TID 2000, and CID 7002, what stands under them. Both groups are
# extensible; newer editions head with LOINC codes, which older readers do not know.
FINDINGS_HEADING = Code("121070", "DCM", "Findings")
IMPRESSIONS_HEADING = Code("121072", "DCM", "Impressions")
IMPRESSION = Code("121073", "DCM", "Impression")
PROCEDURE_HEADING = Code("121064", "DCM", "Current Procedure Descriptions")
PROCEDURE_DESCRIPTION = Code("121065", "DCM", "Procedure Description")

# CID 7010, title of TID 2010: the slices are named for no purpose but to be looked at.
OF_INTEREST = Code("113000", "DCM", "Of Interest")
KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")

# RFC 5646, for TID 1204 by CID 5000.
ENGLISH = Code("en-US", "RFC5646", "English (United States)")

# CID 100, for Procedure Reported of TID 1500. It has no plain CT of the head.
CT_UNSPECIFIED_BODY_REGION = Code("25045-6", "LN", "CT unspecified body region")

# CID 7021, titles of TID 1500.
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")

# TID 1500, row 12.
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")

# PS3.16, annex D; CID 12101.
COMMENT = Code("121106", "DCM", "Comment")

# CID 270, observer types; TID 1002.
DEVICE = Code("121007", "DCM", "Device")

# CID 7005, for Contributing Equipment (PS3.3, C.12.1.1.5).
ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")

# CID 7202, for Source Image Sequence (PS3.3, C.12.4).
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")

# CID 9231, what a workitem asks for.
INTERPRETATION = Code("110005", "DCM", "Interpretation")
