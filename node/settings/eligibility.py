"""Which series the model may judge: mostly words that scanners and people write."""

from pydantic import Field

from node.settings.fields import Section, Words


class EligibilitySettings(Section):
    """Which series the model may judge; words are regular expressions, case ignored."""

    check_pixels: bool = Field(
        True, description="skip what shows no head, whatever its header says"
    )
    min_slices: int = Field(10, ge=1, description="fewer are skipped")
    max_tilt_deg: float = Field(
        35, ge=0, le=90, description="steeper stacks are not axial, degrees"
    )
    derived_image_types: tuple[str, ...] = Field(
        (
            "SECONDARY",
            "MPR",
            "REFORMATTED",
            "CSA MPR",
            "CSA MIP",
            "CSAPARALLEL",
            "MIP",
            "MINIP",
            "MAX_IP",
            "MIN_IP",
            "PROJECTION IMAGE",
            "VOLUME_RENDER",
            "VRT",
            "SCREEN SAVE",
            "SUBTRACT",
            "POST_PROCESSED",
        ),
        description="values of ImageType that mark a reformat or secondary image",
    )
    derived_words: tuple[Words, ...] = Field(
        (r"\bm(in)?ip\b", r"\bvrt\b", r"\bmpr\b", r"\breformat", r"\b3d\b", r"\bdose report\b"),
        description="in SeriesDescription: a reformat or secondary image",
    )
    contrast_words: tuple[Words, ...] = Field(
        (
            r"contrast",
            r"\bc\s*\+",
            r"\+\s*c\b",
            r"\bcect\b",
            r"\bcta\b",
            r"\bctv\b",
            r"angio",
            r"perfusion",
            r"\bctp\b",
            r"arterial",
            r"venous",
            r"\bpost\s*c\b",
            r"\bw(ith)?[ /.]+(iv|con)\b",
            r"\d+\s*cc\s*(/\s*)?sec",
            r"kontrast",
            r"\bkm\b",
            r"inject",
            r"enhanced",
        ),
        description="in SeriesDescription: contrast was given",
    )
    plain_words: tuple[Words, ...] = Field(
        (
            r"\b(non?|pre|without|w\s*/?\s*o|wo|minus)\b[\s_.-]*(iv\b)?[\s_.-]*(con|c\b)",
            r"\bnon?con",
            r"\bprecon",
            r"\bplain\b",
            r"\bncct\b",
            r"\bnect\b",
            r"\b(un|non?|not|pre)[\s_.-]*enhanced",
            r"\bc-(?!\w)",
            r"\bnativ",
            r"\b(ohne|sans|sin)\b",
        ),
        description="in SeriesDescription: no contrast, whatever contrast_words find",
    )
    no_agent_words: tuple[Words, ...] = Field(
        (r"^\s*(no|non|none|n/?a|nil|without|w/?o|0)\b", r"^\W*$"),
        description="in ContrastBolusAgent: none was given",
    )
    bone_kernels: tuple[Words, ...] = Field(
        (
            r"^(bone|boneplus|bone plus|edge|lung|ultra|sharp)",
            r"^[abhjqu][a-z]?(5[5-9]|[6-9]\d)",
            r"^fc(3\d|5\d|8\d)",
            r"^(d|e|l|yc|yd|ye)$",
        ),
        description="ConvolutionKernel of a bone or lung reconstruction",
    )
    bone_words: tuple[Words, ...] = Field(
        (r"\bbone\b(?! *(removal|subtract))", r"\bbone\s*plus\b", r"\bknochen"),
        description="in SeriesDescription: a bone reconstruction",
    )
    head_words: tuple[Words, ...] = Field(
        (
            r"head",
            r"brain",
            r"skull",
            r"neuro",
            r"cereb",
            r"crani",
            r"kopf",
            r"sch(a|ä)del",
            r"cr(a|â)ne",
            r"t(e|ê)te",
            r"cabeza",
            r"\bnct\b",
            r"stroke",
        ),
        description="in BodyPartExamined or a description: a head",
    )
    other_part_words: tuple[Words, ...] = Field(
        (
            r"chest",
            r"thorax",
            r"lung",
            r"abd",
            r"pelvis",
            r"spine",
            r"\bneck\b",
            r"\bknee",
            r"\bhip\b",
            r"liver",
            r"heart",
            r"cardiac",
            r"coronary",
            r"shoulder",
            r"ankle",
            r"\bfoot\b",
            r"\bleg\b",
            r"extremity",
            r"\bhand\b",
            r"wrist",
            r"elbow",
            r"kidney",
            r"colon",
            r"aorta",
            r"whole\s*body",
        ),
        description="in BodyPartExamined or a description: not a head",
    )
