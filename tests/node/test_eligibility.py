"""Which series the model may judge: with the words that real scanners write."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from ml.errors import GeometryError
from ml.frames import read_frames
from ml.series import arrange
from node.assemble import Reason, Verdict, look_at
from node.headers import SeriesHeaders, read_headers
from node.settings import EligibilitySettings
from tests import ct

RULES = EligibilitySettings()
KEYWORDS = ("ImageType", "SeriesDescription", "BodyPartExamined", "ConvolutionKernel")


def headers_of(images: list[Dataset]) -> SeriesHeaders:
    frames = [f for n, i in enumerate(images) for f in read_frames(i, Path(f"{n}.dcm"))]
    try:
        return SeriesHeaders(tuple(images), (), arrange(frames))
    except GeometryError:
        return SeriesHeaders(tuple(images), (), None)


def series(change: Callable[[Dataset], object] | None = None, count: int = 12) -> SeriesHeaders:
    """A plain head CT without pixels, each slice altered by `change`."""
    images = [ct.image(n, 5.0 * n) for n in range(1, count + 1)]
    for image in images:
        del image.PixelData
        if change is not None:
            change(image)
    return headers_of(images)


def said(rules: EligibilitySettings = RULES, count: int = 12, **values: object) -> Verdict:
    """The verdict on a plain head CT with these attributes; None takes one away."""

    def change(image: Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                image.pop(keyword, None)
            else:
                setattr(image, keyword, value)

    return look_at(series(change, count), rules)


def test_a_plain_axial_head_ct_is_judged_without_a_warning() -> None:
    assert look_at(series(), RULES) == Verdict()


# -- one reason after the other ------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "detail", "values"),
    [
        (Reason.NOT_CT, "MR", {"Modality": "MR"}),
        (Reason.LOCALIZER, "localizer", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        (Reason.LOCALIZER, "localizer", {"ImageType": "LOCALIZER"}),
        (Reason.DERIVED, "MPR", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
        (Reason.DERIVED, "SECONDARY", {"ImageType": ["DERIVED", "SECONDARY", "OTHER"]}),
        (Reason.DERIVED, "CSA MPR", {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "CSA MPR"]}),
        (Reason.DERIVED, "MIP", {"SeriesDescription": "HEAD MIP 10mm"}),
        (Reason.NOT_AXIAL, "90 degrees", {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}),
        (Reason.NOT_AXIAL, "90 degrees", {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}),
        (Reason.CONTRAST, "OMNIPAQUE", {"ContrastBolusAgent": "OMNIPAQUE 350"}),
        (Reason.CONTRAST, "C+", {"SeriesDescription": "CT HEAD C+"}),
        (Reason.BONE_KERNEL, "H60s", {"ConvolutionKernel": "H60s"}),
        (Reason.BONE_KERNEL, "BONE", {"SeriesDescription": "CT BONE"}),
        (Reason.NOT_A_HEAD, "CHEST", {"BodyPartExamined": "CHEST"}),
        (Reason.NO_PIXEL_DATA, "no pixel data", {"Rows": None, "Columns": None}),
        (Reason.GEOMETRY, "Image Position", {"ImagePositionPatient": None}),
        (Reason.GEOMETRY, "Image Position", {"ImageOrientationPatient": None}),
    ],
)
def test_a_series_that_says_what_it_is_is_skipped_with_the_reason(
    reason: Reason, detail: str, values: dict[str, object]
) -> None:
    verdict = said(**values)
    assert verdict.reason is reason
    assert detail in verdict.detail


def test_too_few_slices_are_skipped_with_both_numbers() -> None:
    assert said(count=9) == Verdict(Reason.TOO_FEW_SLICES, "9 slices, at least 10 are needed")
    assert said(count=10).reason is None


def test_images_of_two_patients_are_no_series() -> None:
    def change(image: Dataset) -> None:
        image.PatientID = "T1" if image.InstanceNumber <= 6 else "T2"

    verdict = look_at(series(change), RULES)
    assert (verdict.reason, verdict.detail) == (Reason.MIXED, "the images are of 2 patients")


def test_every_reason_has_a_test() -> None:
    tested = {Reason.TOO_FEW_SLICES, Reason.MIXED}
    for mark in test_a_series_that_says_what_it_is_is_skipped_with_the_reason.pytestmark:
        tested |= {case[0] for case in mark.args[1]}
    assert tested == set(Reason)


@pytest.mark.parametrize("odd", [1, 5])
def test_a_few_odd_slices_do_not_decide(odd: int) -> None:
    def change(image: Dataset) -> None:
        if image.InstanceNumber <= odd:
            image.ImageType = ["DERIVED", "SECONDARY", "MPR"]

    assert look_at(series(change), RULES).reason is None


def test_a_localizer_sent_with_the_series_does_not_decide_and_is_left_out() -> None:
    def change(image: Dataset) -> None:
        if image.InstanceNumber == 1:
            image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            image.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    found = series(change)
    assert look_at(found, RULES).reason is None
    assert found.arrangement is not None
    assert len(found.arrangement.frames) == 11


# -- names of series -----------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "CT Plain",
        "CT PLAIN THIN",
        "CT 5mm",
        "CT PRE CONTRAST 5MM STD",
        "PRE CONTRAST THIN",
        "CT Plain 3mm",
        "CT 2.55mm",
        "2.5/5mm",
        "CT HEAD POST OP",
        "POST-OP HEAD",
        "HEAD POST CRANIOTOMY",
        "POST CLIPPING",
        "POST COILING HEAD",
        "POSTERIOR FOSSA",
        "HEAD W/O CONTRAST",
        "HEAD W/O",
        "HEAD WO CONTRAST",
        "HEAD WO IV CONTRAST",
        "Head without contrast 5.0",
        "BRAIN NON-CON",
        "NON CONTRAST HEAD",
        "NONCONTRAST",
        "NON-ENHANCED HEAD",
        "UNENHANCED BRAIN",
        "HEAD (C-) 5.0 H31s",
        "Kopf nativ 5.0",
        "Schädel ohne KM",
        "Tête sans injection",
        "Cráneo sin contraste",
        "NCCT Head",
        "AXIAL BRAIN 5MM",
        "Head 4.8 J40s",
        "TRAUMA HEAD",
        "5.000 STD",
        "ST HEAD ACUTE",
        "BASE BRAIN",
        "",
    ],
)
def test_a_plain_head_is_judged_whatever_its_name(name: str) -> None:
    assert said(SeriesDescription=name).reason is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("4cc sec 150cc D3D on", Reason.CONTRAST),
        ("4cc/sec 100cc", Reason.CONTRAST),
        ("POST CONTRAST", Reason.CONTRAST),
        ("CT POST CONTRAST 5MM", Reason.CONTRAST),
        ("CT HEAD C+", Reason.CONTRAST),
        ("HEAD +C", Reason.CONTRAST),
        ("HEAD W CONTRAST", Reason.CONTRAST),
        ("HEAD WITH CONTRAST", Reason.CONTRAST),
        ("PRE AND POST CONTRAST", Reason.CONTRAST),
        ("HEAD W IV CON", Reason.CONTRAST),
        ("CTA HEAD", Reason.CONTRAST),
        ("CTA COW", Reason.CONTRAST),
        ("CTV HEAD", Reason.CONTRAST),
        ("Head Angio 0.75", Reason.CONTRAST),
        ("CT PERFUSION 5.0", Reason.CONTRAST),
        ("Schädel mit KM", Reason.CONTRAST),
        ("Kopf Kontrastmittel", Reason.CONTRAST),
        ("CECT HEAD", Reason.CONTRAST),
        ("ENHANCED HEAD", Reason.CONTRAST),
        ("CT BONE", Reason.BONE_KERNEL),
        ("BONE WINDOW THIN", Reason.BONE_KERNEL),
        ("BONE PLUS", Reason.BONE_KERNEL),
        ("Knochen 1.0", Reason.BONE_KERNEL),
        ("Dose Report", Reason.DERIVED),
        ("HEAD 3D VRT", Reason.DERIVED),
        ("COR MPR 3mm", Reason.DERIVED),
        ("Sag reformat", Reason.DERIVED),
    ],
)
def test_a_name_that_says_more_than_plain_is_a_reason(name: str, reason: Reason) -> None:
    assert said(SeriesDescription=name).reason is reason


# -- kernels -------------------------------------------------------------------


@pytest.mark.parametrize(
    "kernel",
    [
        *("H20s", "H31s", "H37s", "H40s", "J30s", "J37s", "J40s", "J45s", "Hr38", "Hr40", "Hc40s"),
        *("Qr36", "B20f", "B30s", "B31f", "Br40"),
        *("STANDARD", "STND", "SOFT", "STD+", "DETAIL"),
        *("FC21", "FC26", "FC64", "FC68", "FC20", "FC23"),
        *("UA", "UB", "UC", "A", "B", "C", "EB"),
    ],
)
def test_a_soft_kernel_is_judged(kernel: str) -> None:
    assert said(ConvolutionKernel=kernel).reason is None


@pytest.mark.parametrize(
    "kernel",
    [
        *("H60s", "H70h", "Hr64", "Hr68", "B60s", "B70f", "B80f", "J70h", "U90u", "Br64", "Hr59"),
        *("BONE", "BONEPLUS", "BONE+", "EDGE", "LUNG", "ULTRA"),
        *("FC30", "FC31", "FC35", "FC50", "FC51", "FC81"),
        *("D", "E", "L", "YC", "YD", "YE"),
    ],
)
def test_a_bone_or_lung_kernel_is_a_reason(kernel: str) -> None:
    verdict = said(ConvolutionKernel=kernel)
    assert verdict.reason is Reason.BONE_KERNEL
    assert kernel in verdict.detail


def test_a_kernel_with_a_second_value_is_read_by_its_first() -> None:
    assert said(ConvolutionKernel=["J40s", "3"]).reason is None
    assert said(ConvolutionKernel=["Hr64", "3"]).reason is Reason.BONE_KERNEL


# -- image types ---------------------------------------------------------------


@pytest.mark.parametrize(
    "image_type",
    [
        ["ORIGINAL", "PRIMARY", "AXIAL"],
        ["ORIGINAL", "PRIMARY", "AXIAL", "ADD"],
        ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SEQ"],
        ["ORIGINAL", "PRIMARY", "AXIAL", "HELIX"],
        ["DERIVED", "PRIMARY", "AXIAL"],
        ["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
        ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        "",
    ],
)
def test_an_axial_image_is_judged_also_if_it_is_called_derived(image_type: object) -> None:
    assert said(ImageType=image_type).reason is None


# -- contrast agents -----------------------------------------------------------


@pytest.mark.parametrize("agent", ["NONE", "None", "NO", "n/a", "NIL", "", "-", "0", "No contrast"])
def test_an_agent_that_is_none_is_none(agent: str) -> None:
    assert said(ContrastBolusAgent=agent).reason is None


@pytest.mark.parametrize("agent", ["OMNIPAQUE", "CE", "IV", "Iopamidol", "APPLIED", "Nonionic"])
def test_an_agent_that_is_named_was_given(agent: str) -> None:
    assert said(ContrastBolusAgent=agent).reason is Reason.CONTRAST


def test_an_agent_said_by_code_was_given() -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "109219003", "SCT"
    code.CodeMeaning = "Iodinated contrast"
    assert said(ContrastBolusAgentSequence=Sequence([code])).reason is Reason.CONTRAST


# -- parts of the body ---------------------------------------------------------


@pytest.mark.parametrize("part", ["HEAD", "BRAIN", "SKULL", "Head", "HEAD_NECK", "NEURO", ""])
def test_a_head_or_nothing_said_is_judged(part: str) -> None:
    assert said(BodyPartExamined=part).reason is None


@pytest.mark.parametrize(
    "part", ["CHEST", "ABDOMEN", "PELVIS", "NECK", "CSPINE", "LSPINE", "HEART", "KNEE", "THORAX"]
)
def test_another_part_of_the_body_is_a_reason(part: str) -> None:
    verdict = said(BodyPartExamined=part, SeriesDescription="5.0 STD")
    assert (verdict.reason, part in verdict.detail) == (Reason.NOT_A_HEAD, True)


@pytest.mark.parametrize("study", ["CT HEAD WITHOUT CONTRAST", "Brain", "CT Schädel"])
def test_a_head_in_the_study_wins_over_an_odd_body_part(study: str) -> None:
    verdict = said(BodyPartExamined="CHEST", SeriesDescription="5.0", StudyDescription=study)
    assert verdict.reason is None


def test_a_spine_scanned_in_the_study_of_a_head_is_no_head() -> None:
    """After an accident head and neck are one study with a series each."""
    study = {"StudyDescription": "CT HEAD AND C-SPINE"}
    spine = said(SeriesDescription="C-SPINE 2.0 STD", BodyPartExamined=None, **study)
    assert spine.reason is Reason.NOT_A_HEAD
    assert said(SeriesDescription="HEAD 5.0", BodyPartExamined=None, **study).reason is None
    assert said(SeriesDescription="5.0 STD", BodyPartExamined=None, **study).reason is None


def test_an_unknown_body_part_is_taken_for_a_head_with_a_warning() -> None:
    verdict = said(BodyPartExamined="UNKNOWN", SeriesDescription="5.0 STD")
    assert verdict.reason is None
    assert verdict.warnings == ("the header calls the body part 'UNKNOWN': taken for a head",)


# -- what the header does not say ----------------------------------------------


@pytest.mark.parametrize("keyword", [*KEYWORDS, "InstanceNumber", "SliceThickness", "SOPClassUID"])
def test_a_missing_attribute_is_never_alone_a_reason(keyword: str) -> None:
    assert said(**{keyword: None}).reason is None


def test_a_header_like_that_of_rsna_is_judged_with_one_warning() -> None:
    missing = (*KEYWORDS, "SOPClassUID", "InstanceNumber", "SliceThickness")
    verdict = said(**dict.fromkeys(missing))
    assert verdict.reason is None
    assert verdict.warnings == ("the header does not say: image type, body part, kernel",)


def test_no_modality_is_unknown_and_no_reason() -> None:
    assert said(Modality=None).reason is None


# -- tilt ----------------------------------------------------------------------


@pytest.mark.parametrize(("sine", "cosine", "judged"), [(0.42, 0.908, True), (0.707, 0.707, False)])
def test_a_gantry_may_be_tilted_but_an_oblique_stack_is_not_axial(
    sine: float, cosine: float, judged: bool
) -> None:
    verdict = said(ImageOrientationPatient=[1, 0, 0, 0, cosine, sine])
    assert (verdict.reason is None) is judged


# -- Enhanced CT ---------------------------------------------------------------


def test_an_enhanced_image_is_judged_by_its_functional_groups() -> None:
    positions = [5.0 * n for n in range(12)]
    plain = ct.enhanced(positions)
    assert look_at(headers_of([plain]), RULES) == Verdict()
    bone = ct.enhanced(positions)
    shared = bone.SharedFunctionalGroupsSequence[0]
    shared.CTReconstructionSequence[0].ConvolutionKernel = "BONE"
    assert look_at(headers_of([bone]), RULES).reason is Reason.BONE_KERNEL
    chest = ct.enhanced(positions)
    chest.pop("SeriesDescription")
    region = chest.SharedFunctionalGroupsSequence[0].FrameAnatomySequence[0]
    region.AnatomicRegionSequence[0].CodeMeaning = "Chest"
    assert look_at(headers_of([chest]), RULES).reason is Reason.NOT_A_HEAD
    scout = ct.enhanced(positions)
    for frame in scout.PerFrameFunctionalGroupsSequence:
        frame.CTImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    assert look_at(headers_of([scout]), RULES).reason is Reason.LOCALIZER


# -- the rules are configuration -----------------------------------------------


def test_the_words_and_limits_are_those_of_the_settings() -> None:
    assert said(EligibilitySettings(min_slices=20)).reason is Reason.TOO_FEW_SLICES
    assert said(EligibilitySettings(bone_kernels=("^std",)), ConvolutionKernel="STD").reason is (
        Reason.BONE_KERNEL
    )
    assert said(EligibilitySettings(contrast_words=()), SeriesDescription="C+").reason is None


# -- rubbish -------------------------------------------------------------------


def test_no_header_at_all_cannot_be_ordered() -> None:
    assert look_at(SeriesHeaders((), (), None), RULES).reason is Reason.GEOMETRY


@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            keyword: st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=16)
            for keyword in ("SeriesDescription", "ConvolutionKernel", "ContrastBolusAgent")
        },
    )
)
def test_any_text_gives_a_verdict(values: dict[str, str]) -> None:
    verdict = said(**values)
    assert (verdict.reason is None) is (verdict.detail == "")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "tag",
    [
        0x52009229,
        0x52009230,
        0x00180012,
        0x00180010,
        0x00180015,
        0x00080008,
        0x00181210,
        0x00080060,
    ],
    ids=hex,
)
@pytest.mark.parametrize("vr", ["SQ", "LO", "US", "OB", "FD"])
def test_an_attribute_of_another_kind_gives_a_verdict(tag: int, vr: str, tmp_path: Path) -> None:
    value = {"SQ": [], "LO": "odd", "US": 7, "OB": b"\xff\xfe", "FD": float("nan")}[vr]

    def change(image: Dataset) -> None:
        image.pop(tag, None)
        image.add_new(tag, vr, value)

    headers = read_headers(ct.series(tmp_path, [5.0 * n for n in range(10)], change))
    look_at(headers, RULES)


# -- real series ---------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "minimum"),
    [
        ("cq500_intraparenchymal_30", 10),
        ("cq500_negative_30", 10),
        ("ge_hispeed_tilted_28", 10),
        ("rsna_labelled_36", 10),
        ("rsna_subdural_28", 10),
    ],
)
def test_the_real_series_are_judged(
    name: str, minimum: int, real_series: Callable[[str], list[Path]]
) -> None:
    found = read_headers(real_series(name))
    assert len(found.headers) >= minimum
    assert look_at(found, RULES).reason is None
