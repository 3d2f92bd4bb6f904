"""A CSV file of labels: what it may look like, and what is said of what is wrong."""

import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.labels import LABELS, SUBTYPES, Label
from node.errors import ConfigError
from node.feedback.rows import Blank, Row, Wrong, read_rows, write_rows
from node.feedback.said import WORDS, ReadingError, Subject, as_findings

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def read(text: str) -> list[Row | Blank | Wrong]:
    return list(read_rows(io.StringIO(text, newline=""), NOW))


def why(text: str) -> str:
    (found,) = read(text)
    assert isinstance(found, Wrong), found
    return found.why


def test_a_row_says_of_which_study_what_who_and_when() -> None:
    (row,) = read(
        "study_instance_uid,any,subdural,reader,at,remark\n"
        "1.2.3,present,yes,anna,2026-11-26T08:30:00+01:00,left side\n"
    )
    assert row == Row(
        2,
        Subject("1.2.3"),
        {Label.ANY: True, Label.SUBDURAL: True},
        "anna",
        datetime(2026, 11, 26, 7, 30, tzinfo=UTC),
        "left side",
    )


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_columns_may_stand_in_any_order_and_come_from_any_program_of_tables(between: str) -> None:
    lines = ["\ufeffANY , Accession_Number", '"1", "A-42"', "", "0,A-43", " , "]
    text = "\r\n".join(lines).replace(",", between)
    first, second = read(text)
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert (first.line, first.subject, first.findings) == (
        2,
        Subject("", "", "A-42"),
        {Label.ANY: True},
    )
    assert (second.line, second.findings) == (4, dict.fromkeys(LABELS, False))
    assert (first.reader, first.said_at, first.remark) == ("csv", None, None)


@pytest.mark.parametrize("word", [word for word, means in WORDS.items() if means is not None])
def test_each_word_means_present_or_absent_in_any_case(word: str) -> None:
    (row,) = read(f"series_instance_uid,any\n1.2,{word.upper()}\n")
    assert isinstance(row, Row)
    assert row.findings[Label.ANY] is WORDS[word]


def test_a_line_without_a_word_waits_and_one_that_says_unknown_does_not() -> None:
    assert read("series_instance_uid,any,reader\n1.2,,anna\n1.2,unknown,anna\n") == [
        Blank(2),
        Row(3, Subject("", "1.2"), {}, "anna", None, None),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1.2,perhaps,,,", "any: 'perhaps' is none of present, absent, unknown"),
        ("1.2,0,1,,", "any is absent, and subdural is present"),
        (",1,,,", "it needs one of study_instance_uid"),
        ("../x,1,,,", "study_instance_uid is no UID"),
        ("1.2,1,,,yesterday", "at: 'yesterday' is no time"),
        ("1.2,1,,,2027-01-01T00:00:00+00:00", "lies in the future"),
        ("1.2,1,,,1969-01-01T00:00:00+00:00", "before 1970"),
        ("1.2,1,,,0001-01-01T00:00:00", "none of a clock"),
        ("1.2,1,,,,,7", "it has 7 cells, and there are 5 columns"),
    ],
)
def test_what_is_wrong_is_told_by_its_line(line: str, expected: str) -> None:
    text = f"study_instance_uid,any,subdural,reader,at\n{line}\n1.3,1,,,\n"
    wrong, good = read(text)
    assert isinstance(wrong, Wrong)
    assert wrong.line == 2
    assert expected in wrong.why
    assert isinstance(good, Row)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("", "needs one of the columns"),
        ("any", "needs one of the columns study_instance_uid"),
        ("study_instance_uid", "needs the column any"),
        ("study_instance_uid,any,patient_name", "a column 'patient_name'"),
        ("study_instance_uid,any,any", "the column any twice"),
    ],
)
def test_a_file_with_other_columns_is_none(head: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        read(f"{head}\n1.2,1\n")


def test_of_two_lines_that_contradict_each_other_one_has_to_be_newer() -> None:
    undated = "series_instance_uid,any\n1.2,1\n1.2,1\n1.2,0\n"
    *good, wrong = read(undated)
    assert len(good) == 2
    assert wrong == Wrong(
        4, "line 2 says something else of the same: give both a time, in a column at"
    )
    dated = "series_instance_uid,any,at\n1.2,1,2026-01-01\n1.2,0,2026-01-02\n"
    assert all(isinstance(row, Row) for row in read(dated))


def test_a_remark_may_have_lines_of_its_own() -> None:
    first, second = read('any,remark,series_instance_uid\n1,"a\nb",1.2\n0,,1.3\n')
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert (first.line, first.remark, second.line) == (2, "a b", 4)


HEAD = "series_instance_uid,any,remark\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('1.2,1,"left\n1.3,0,\n1.4,0,\n', "the lines 2 to 4"),
        ('1.2,1,"left\n1.3,0,"right"\n1.4,0,\n', "the lines 2 to 3"),
        ('1.2,1,"left\n' + "1.3,0,\n" * 30_000 + "1.4,0,\n", "field larger than"),
        ("1.2,1," + "x" * 501 + "\n1.4,0,\n", "remark: it has 501 characters, and 500"),
        ('1.2,1,"left\n' + "1.3,0,\n" * 100 + '1.4,1,right"\n1.4,0,\n', "remark: it has 7"),
        ("1.2,1,M\udcfcller\n1.4,0,\n", "not in UTF-8"),
    ],
)
def test_no_line_is_lost_in_another_one_without_a_word(lines: str, expected: str) -> None:
    wrong, *others = read(HEAD + lines)
    assert isinstance(wrong, Wrong)
    assert wrong.line == 2
    assert expected in wrong.why
    assert all(isinstance(row, Row) for row in others)


def test_what_a_program_of_tables_calls_unicode_is_told_by_its_name() -> None:
    content = HEAD.encode("utf-16").decode("utf-8-sig", "surrogateescape")
    with pytest.raises(ConfigError, match="UTF-16: save it as CSV UTF-8"):
        read(content)


def test_two_readers_who_contradict_each_other_need_a_time_too() -> None:
    first, wrong, other = read("series_instance_uid,any,reader\n1.2,1,anna\n1.2,0,ben\n1.3,0,ben\n")
    assert isinstance(first, Row)
    assert isinstance(other, Row)
    assert isinstance(wrong, Wrong)
    assert "line 2 says something else" in wrong.why


@given(st.text(max_size=300))
def test_whatever_stands_in_a_file_each_line_is_taken_or_told_of(text: str) -> None:
    for found in read("study_instance_uid,any,at,reader\n" + text):
        assert isinstance(found, Row | Blank | Wrong)
        if isinstance(found, Row):
            assert found.reader.isprintable()
            assert len(found.reader) <= 64


def test_a_hemorrhage_is_of_some_kind() -> None:
    absent = dict.fromkeys(SUBTYPES, False)
    with pytest.raises(ReadingError, match="every kind of it is absent"):
        as_findings({Label.ANY: True, **absent})
    unsure = absent | {Label.SUBDURAL: None}
    assert as_findings({Label.ANY: True, **unsure})[Label.ANY] is True


answers = st.sampled_from([True, False, None])


@given(st.dictionaries(st.sampled_from(LABELS), answers))
def test_what_follows_from_a_reading_never_contradicts_it(said: dict[Label, bool | None]) -> None:
    try:
        findings = as_findings(said)
    except ReadingError:
        kinds = [said.get(label) for label in SUBTYPES]
        assert any(kinds) if said[Label.ANY] is False else kinds == [False] * 5
        return
    for label, is_present in said.items():
        if is_present is not None:
            assert findings[label] is is_present
    if any(findings.get(label) for label in SUBTYPES):
        assert findings[Label.ANY] is True
    if findings.get(Label.ANY) is False:
        assert findings == dict.fromkeys(LABELS, False)


words = st.text(st.characters(codec="utf-8"), max_size=30)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b"]), words), max_size=5))
def test_what_is_written_can_be_read_and_is_no_formula(rows: list[dict[str, str]]) -> None:
    text = "".join(write_rows(rows, ["a", "b"]))
    head, *back = csv.reader(io.StringIO(text, newline=""))
    assert head == ["a", "b"]
    for row, cells in zip(rows, back, strict=True):
        for name, cell in zip(head, cells, strict=True):
            assert not cell.startswith(("=", "+", "-", "@"))
            assert cell in (row.get(name, ""), f"'{row.get(name)}")
