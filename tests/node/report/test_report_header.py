"""What a result copies from its source, so that no second patient appears."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from node.report import Kind, ReportError
from node.report.header import plain

# the broken values that these sources are given on purpose
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")

NAMES = {
    "latin": ("ISO_IR 100", "Müller^Jörg"),
    "utf-8": ("ISO_IR 192", "Müller^Jörg=王^小東=ユ"),
    "japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "japanese with katakana": (
        ["ISO 2022 IR 13", "ISO 2022 IR 87"],
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "chinese": ("GB18030", "Wang^XiaoDong=王^小东"),
    "greek": ("ISO_IR 126", "Διονυσιος"),
}


TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
OTHERS = (
    "PatientAge",
    "StudyDescription",
    "Manufacturer",
    "BodyPartExamined",
    "SeriesNumber",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)


def read(results):
    for result in results:
        yield pydicom.dcmread(result.path)


@pytest.mark.parametrize(("charset", "name"), NAMES.values(), ids=NAMES)
def test_a_name_survives_in_its_own_character_set(make_case, tmp_path, charset, name):
    case = make_case(
        2,
        SpecificCharacterSet=charset,
        PatientName=name,
        StudyDescription=str(name).split("=")[-1].replace("^", " "),
    )
    for dataset in read(case.build(tmp_path)):
        assert dataset.get("SpecificCharacterSet") == case.sources[0].get("SpecificCharacterSet")
        for keyword in ("PatientName", "StudyDescription"):
            assert dataset[keyword].value == case.sources[0][keyword].value
        assert str(dataset.PatientName) == name


def test_the_bytes_of_a_japanese_name_are_the_source_s(make_case, tmp_path):
    charset, name = NAMES["japanese"]
    case = make_case(1, SpecificCharacterSet=charset, PatientName=name)
    encoded = name.split("=")[1].encode("iso2022_jp")[:4]
    for result in case.build(tmp_path):
        assert encoded in result.path.read_bytes()


def test_no_character_set_stays_none(make_case, tmp_path):
    for dataset in read(make_case(1, SpecificCharacterSet=None).build(tmp_path)):
        assert "SpecificCharacterSet" not in dataset


def test_words_of_the_model_do_not_break_a_character_set(case, tmp_path):
    model = case.judgement.model.__class__(
        "m", "1.0-\u03b2", 64 * "c", "Zürich – 3 \\ Krankenhäuser", "forschung\nnur"
    )
    results = case.judged(model=model, warnings=("Δ too large",)).build(tmp_path)
    document = pydicom.dcmread(results[0].path)
    told = "\n".join(
        item.TextValue
        for item in document.ContentSequence[-1].ContentSequence
        if item.ValueType == "TEXT"
    )
    assert told.isascii()
    assert "Zurich ? 3 / Krankenhauser" in told
    assert "forschung nur" in told


def test_plain_text_is_one_line_of_ascii():
    assert plain("à la\n carte\\½") == "a la carte/1?2"


COPIED = {
    "IssuerOfPatientID": "HOSPITAL",
    "PatientAge": "076Y",
    "PatientSize": "1.70",
    "PatientWeight": "80",
    "OtherPatientIDs": "X1",
    "AdmissionID": "ADM",
    "StudyDescription": "CT HEAD",
    "AdditionalPatientHistory": "fall",
    "ClinicalTrialSubjectID": "T1",
    "TimezoneOffsetFromUTC": "+0900",
}


def test_patient_and_study_are_copied_whole(make_case, tmp_path):
    case = make_case(1, **COPIED)
    for dataset in read(case.build(tmp_path)):
        for keyword in ("StudyInstanceUID", *TYPE_2, *COPIED):
            assert dataset[keyword].value == case.sources[0][keyword].value, keyword


@pytest.mark.parametrize("value", ["", None], ids=["empty", "missing"])
def test_what_the_source_lacks_does_not_stop_a_result(make_case, tmp_path, value):
    case = make_case(2, **dict.fromkeys((*TYPE_2, *OTHERS), value))
    for dataset in read(case.build(tmp_path)):
        for keyword in TYPE_2:
            assert keyword in dataset
            assert not dataset[keyword].value


def test_a_broken_value_does_not_stop_a_result(make_case, tmp_path):
    case = make_case(1, StudyDate="2016-6-10", PatientAge="75")
    source = case.sources[0]
    for keyword, vr in (
        ("SeriesNumber", "IS"),
        ("PatientWeight", "DS"),
        ("PatientSize", "FD"),
    ):
        tag = Tag(keyword)
        source[tag] = RawDataElement(tag, vr, 6, b"a lot ", 0, False, True)
    for dataset in read(case.build(tmp_path)):
        assert dataset.get_item("StudyDate").value == b"2016-6-10 "
        assert dataset.PatientAge == "75"
        assert 9901 <= dataset.SeriesNumber <= 9904
        assert "PatientSize" not in dataset


def test_an_identity_removed_by_no_stated_method_gets_a_method(make_case, tmp_path):
    """De-identified public series have the one without the other, which C.7.1.1 forbids."""
    for dataset in read(make_case(1, PatientIdentityRemoved="YES").build(tmp_path)):
        assert dataset.DeidentificationMethod == "not stated in the source"


@pytest.mark.parametrize(
    ("source", "expected"),
    [(3, 301), (1, 101), (0, 9901), (-5, 9901), (2147483647, 9901), (None, 9901)],
)
def test_series_numbers_follow_the_source_and_stay_valid(make_case, tmp_path, source, expected):
    results = make_case(1, SeriesNumber=source).build(tmp_path)
    numbers = {r.kind: d.SeriesNumber for r, d in zip(results, read(results), strict=True)}
    assert numbers == {
        Kind.SECONDARY_CAPTURE: expected,
        Kind.STRUCTURED_REPORT: expected + 1,
        Kind.SLICE_REPORT: expected + 2,
        Kind.TEXT_REPORT: expected + 3,
    }


def test_every_date_is_the_one_given_or_the_source_s(make_case, tmp_path):
    created = datetime(2026, 3, 4, 23, 30, 0, tzinfo=UTC)
    given = {"DA": "20260304", "TM": "233000", "DT": "20260304233000+0000"}
    case = make_case(1)
    for dataset in read(case.build(tmp_path, created=created)):
        dates = [element for element in dataset.iterall() if element.VR in given]
        assert {"ContentTime", "SeriesDate", "ContributionDateTime"} <= {d.keyword for d in dates}
        for element in dates:
            copied = case.sources[0].get(element.keyword)
            assert element.value == (copied or given[element.VR]), element.keyword


def test_dates_are_in_the_zone_that_the_source_declares(make_case, tmp_path):
    created = datetime(2026, 3, 4, 23, 30, 0, tzinfo=UTC)
    case = make_case(1, TimezoneOffsetFromUTC="+0900")
    for dataset in read(case.build(tmp_path, created=created)):
        assert (dataset.ContentDate, dataset.ContentTime) == ("20260305", "083000")


@pytest.mark.parametrize("offset", ["", "+9999", "0900", "+09:0"])
def test_a_useless_zone_is_no_zone(make_case, tmp_path, offset):
    created = datetime(2026, 3, 4, 23, 30, 0, tzinfo=timezone(timedelta(hours=1)))
    case = make_case(1, TimezoneOffsetFromUTC=offset)
    for dataset in read(case.build(tmp_path, created=created)):
        assert dataset.ContentTime == "233000"
        assert "TimezoneOffsetFromUTC" not in dataset


@pytest.mark.parametrize(
    "keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"]
)
@pytest.mark.parametrize("value", ["ID_6431af929", "", "1.02.3"])
def test_sources_that_cannot_be_referred_to_are_refused(make_case, tmp_path, keyword, value):
    case = make_case(1)
    setattr(case.sources[0], keyword, value)
    with pytest.raises(ReportError, match=rf"cannot refer to series .* {keyword}"):
        case.build(tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_sources_of_another_series_are_refused(make_case, tmp_path):
    case = make_case(1)
    case.sources[0].SeriesInstanceUID = "1.2.3"
    with pytest.raises(ReportError, match=r"SeriesInstanceUID 1\.2\.3"):
        case.build(tmp_path)


def test_a_judged_slice_without_a_header_is_refused(make_case, tmp_path):
    case = make_case(3)
    missing = case.sources.pop()
    with pytest.raises(ReportError, match=str(missing.SOPInstanceUID)):
        case.build(tmp_path)


def test_a_judgement_of_another_volume_is_refused(make_case, tmp_path):
    case = make_case(3)
    with pytest.raises(ReportError, match="same slices"):
        case.judged(slices=case.judgement.slices[1:]).build(tmp_path)


def test_the_sources_stay_as_they_were(make_case, tmp_path):
    case = make_case(2, PatientIdentityRemoved="YES", DeidentificationMethod="", PatientID="")
    before = deepcopy(case.sources)
    case.build(tmp_path)
    assert case.sources == before


def test_nested_text_keeps_its_character_set(make_case, tmp_path):
    item = Dataset()
    item.PatientID, item.IssuerOfPatientID = "1", "Universität"
    case = make_case(1, OtherPatientIDsSequence=[item])
    for dataset in read(case.build(tmp_path)):
        assert dataset.OtherPatientIDsSequence[0].IssuerOfPatientID == "Universität"
