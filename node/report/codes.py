"""Every code that a result carries, and where it was checked.

No validator knows SNOMED codes, so each one says here what it was seen with.
Context groups (CID) and templates (TID) are those of DICOM PS3.16.
"""

from pydicom.sr.coding import Code

from ml.labels import Label

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

# Unified Code for Units of Measure; CID 82.
NO_UNITS = Code("1", "UCUM", "no units")

# CID 7464, for the Derivation of a measurement (TID 300).
MAXIMUM = Code("56851009", "SCT", "Maximum")

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
