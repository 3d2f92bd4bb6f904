"""Judges that do not know this project, and the table of what they say.

`make validate` (or `python -m tests.validators`) builds every object of every
case, has every validator look at it and writes docs/validators.md. The tests use
the same functions; each validator is also shown a damaged object, so that "clean"
means something.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import highdicom.sr as hd
import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage
from rich.progress import track

from ml.evidence import Evidence
from ml.labels import Label
from node import report
from node.report import Kind, ResultObject
from node.settings import ReportSettings
from tests.cases import Case, make_case

PIXELMED = Path("/usr/share/java/pixelmed.jar")
TABLE = Path(__file__).resolve().parents[1] / "docs" / "validators.md"

_SR = frozenset({Kind.STRUCTURED_REPORT, Kind.SLICE_REPORT, Kind.TEXT_REPORT, Kind.NOTICE})
_PICTURES = frozenset({Kind.SECONDARY_CAPTURE, Kind.EVIDENCE_MAP})
_MEASURED = frozenset({Kind.STRUCTURED_REPORT, Kind.SLICE_REPORT})


def _run(*command: object) -> tuple[int, list[str]]:
    """Exit status, and every line of both outputs."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, timeout=250, check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace").splitlines()


# -- validators: each gives its complaints about a file --------------------


def dciodvfy(path: Path) -> list[str]:
    """David Clunie's validator of IODs: errors and warnings."""
    status, lines = _run("dciodvfy", path)
    found = [line for line in lines if line.startswith(("Error", "Warning", "Abort"))]
    return found + ([f"exit status {status}"] if status and not found else [])


def pixelmed(path: Path) -> list[str]:
    """PixelMed's validator of SR templates: everything but its four lines."""
    limits = ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit")
    _, lines = _run(
        "java",
        "-XX:TieredStopAtLevel=1",  # half a minute otherwise
        "-XX:+UseSerialGC",
        *(f"-Djdk.xml.{name}=0" for name in limits),
        "-Xss16m",
        "-cp",
        PIXELMED,
        "com.pixelmed.validate.DicomSRValidator",
        path,
    )
    expected = (
        ("Found ", " IOD"),
        ("Found Root Template TID_", ")"),
        ("Root Template Validation Complete", ""),
        ("IOD validation complete", ""),
    )
    unsaid = [
        begin
        for begin, end in expected
        if not any(line.startswith(begin) and line.endswith(end) for line in lines)
    ]
    more = [
        line
        for line in lines
        if not any(line.startswith(begin) and line.endswith(end) for begin, end in expected)
    ]
    return more + [f"does not say: {begin}" for begin in unsaid]


_DCMTK_OF_ITSELF = (
    "W: Check for template constraints not yet supported",
    "W: The VR checker does not support this Specific Character Set",
    "W: Reading unknown/unsupported SpecificCharacterSet",
)
"""What Debian's DCMTK cannot do, whatever the object is like."""


def dsrdump(path: Path) -> list[str]:
    """DCMTK's reader of structured reports."""
    status, lines = _run("/usr/bin/dsrdump", path)
    complaints = [
        line
        for line in lines
        if line.startswith(("E:", "F:", "W:")) and not line.startswith(_DCMTK_OF_ITSELF)
    ]
    return complaints or ([f"exit status {status}"] if status else [])


def dcmtk_picture(path: Path) -> list[str]:
    """DCMTK's way to a picture: it unpacks and renders every frame."""
    syntax = pydicom.dcmread(path, specific_tags=["SOPClassUID"]).file_meta.TransferSyntaxUID
    if syntax == pydicom.uid.JPEG2000Lossless:
        return []  # Debian's DCMTK has no JPEG 2000; pydicom decodes it, in another column
    tool = {pydicom.uid.JPEGLSLossless: "dcmdjpls", pydicom.uid.RLELossless: "dcmdrle"}
    with tempfile.TemporaryDirectory() as folder:
        if syntax in tool:
            status, lines = _run(f"/usr/bin/{tool[syntax]}", path, f"{folder}/plain.dcm")
            if status:
                return lines
            path = Path(folder) / "plain.dcm"
        status, lines = _run("/usr/bin/dcm2pnm", "--all-frames", "--write-png", path, f"{folder}/p")
        return [line for line in lines if line.startswith(("E:", "F:", "W:"))] or (
            [f"exit status {status}"] if status else []
        )


_OF_HIGHDICOM = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)
"""Reports that highdicom reads."""


def readers(path: Path) -> list[str]:
    """pydicom and highdicom: everything decodes, reports parse as their template."""
    dataset = pydicom.dcmread(path)
    try:
        dataset.decode()
        if "PixelData" in dataset:
            dataset.pixel_array.sum()
        elif "ContentTemplateSequence" in dataset and dataset.SOPClassUID in _OF_HIGHDICOM:
            hd.srread(path).content.get_planar_roi_measurement_groups()
    except Exception as error:  # whatever it is, it is a complaint
        return [f"{type(error).__name__}: {error}"]
    return []


@dataclass(frozen=True)
class Validator:
    """A validator, what it looks at, and how it is named and versioned."""

    name: str
    complaints: Callable[[Path], list[str]]
    kinds: frozenset[Kind]
    is_there: bool
    package: str
    cases: int | None = None
    """Of how many cases it gets the objects, because it is slow."""


VALIDATORS = (
    Validator("dciodvfy", dciodvfy, frozenset(Kind), bool(shutil.which("dciodvfy")), "dicom3tools"),
    Validator(
        "PixelMed",
        pixelmed,
        _SR,
        PIXELMED.is_file() and bool(shutil.which("java")),
        "libpixelmed-java",
        cases=1,
    ),
    Validator(
        "dsrdump", dsrdump, _SR | {Kind.KEY_OBJECTS}, Path("/usr/bin/dsrdump").exists(), "dcmtk"
    ),
    Validator(
        "DCMTK picture", dcmtk_picture, _PICTURES, Path("/usr/bin/dcm2pnm").exists(), "dcmtk"
    ),
    Validator("pydicom, highdicom", readers, frozenset(Kind), True, ""),
)


# -- cases -----------------------------------------------------------------

_RESCALED = {"RescaleSlope": 1, "RescaleIntercept": -1024}


def cases() -> Iterator[tuple[str, Case]]:
    """What the objects are made of: vendors, names, what may be missing, sizes."""
    yield "plain", make_case(4, **_RESCALED)
    for vendor, model, kernel in (
        ("GE MEDICAL SYSTEMS", "Revolution CT", "STANDARD"),
        ("SIEMENS", "SOMATOM Definition AS+", ["J40s", "3"]),
        ("Philips", "Brilliance 64", "UB"),
        ("TOSHIBA", "Aquilion ONE", "FC26"),
    ):
        yield (
            vendor,
            make_case(
                3,
                Manufacturer=vendor,
                ManufacturerModelName=model,
                ConvolutionKernel=kernel,
                SoftwareVersions=["1.0", "2.0"],
                DeviceSerialNumber="42",
                StationName="CT1",
                InstitutionName="Hospital",
                **_RESCALED,
            ),
        )
    for language, charset, name in (
        ("Japanese", ["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("Korean", ["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("Cyrillic", "ISO_IR 144", "Люкceмбypг^Иван"),
        ("Chinese, UTF-8", "ISO_IR 192", "Wang^XiaoDong=王^小東="),
    ):
        yield language, make_case(2, SpecificCharacterSet=charset, PatientName=name, **_RESCALED)
    yield "ASCII, no character set", make_case(2, SpecificCharacterSet=None, **_RESCALED)
    yield (
        "optional attributes missing",
        make_case(
            2,
            StudyDescription=None,
            PatientAge=None,
            BodyPartExamined=None,
            FrameOfReferenceUID=None,
            PositionReferenceIndicator=None,
            Manufacturer=None,
            ManufacturerModelName=None,
            SeriesNumber=None,
            **_RESCALED,
        ),
    )
    yield "one slice", make_case(1, **_RESCALED)
    yield "511 x 513", make_case(1, rows=511, columns=513, **_RESCALED)
    yield "16 x 16", make_case(1, rows=16, columns=16, **_RESCALED)
    yield (
        "1024 x 1024, tilted",
        make_case(
            1, rows=1024, columns=1024, orientation=(1, 0, 0, 0, 0.948324, -0.317305), **_RESCALED
        ),
    )
    yield "100 slices", make_case(100, rows=16, columns=16, **_RESCALED)
    yield "Enhanced CT", make_case(3, enhanced=True, **_RESCALED)


FORMS: dict[str, dict[str, object]] = {
    "by default, with all that can be added": {
        "key_objects": True,
        "presentation_state": True,
        "evidence_maps": True,
    },
    "comprehensive": {"structured_report": "comprehensive", "text_report": False},
    "enhanced": {"structured_report": "enhanced", "text_report": False},
    "multi-frame": {"capture": "multi-frame"},
    "rle": {"compression": "rle"},
    "jpeg-ls": {"compression": "jpeg-ls"},
    "jpeg-2000": {"compression": "jpeg-2000"},
}
"""Settings of the report, each built of every case (compression: of the first)."""


def objects(case: Case, folder: Path, **settings: object) -> list[ResultObject]:
    """Every object of a case in a form, its notice too."""
    heat = np.full(case.volume.hu[0].shape, 0.5, np.float32)
    built = report.build(
        case.judgement,
        case.volume,
        case.sources,
        folder,
        settings=ReportSettings(**settings),
        evidence=[Evidence(0, Label.ANY, heat)] if settings.get("evidence_maps") else (),
        created=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    )
    notice = report.build_notice(
        case.sources,
        folder,
        study_instance_uid=case.judgement.study_instance_uid,
        series_instance_uid=case.judgement.series_instance_uid,
        input_digest=case.judgement.input_digest,
        reason="pixel-error",
        detail="too many slices cannot be read",
        created=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    )
    return [*built, *notice]


def source_complaints(case: Case, folder: Path) -> set[str]:
    """What dciodvfy says of the patient and the study in the source itself."""
    folder.mkdir(parents=True, exist_ok=True)
    source = FileDataset("", case.sources[0], preamble=bytes(128))
    source.file_meta = case.sources[0].file_meta
    source.save_as(folder / "source.dcm", enforce_file_format=True)
    return set(dciodvfy(folder / "source.dcm"))


# -- the table -------------------------------------------------------------


@dataclass
class Cell:
    """What a validator said of a kind of object."""

    looked_at: int = 0
    complaints: int = 0


def _name(kind: Kind, sop_class: str) -> str:
    names = {
        Kind.STRUCTURED_REPORT: "findings report",
        Kind.SLICE_REPORT: "slice report",
        Kind.TEXT_REPORT: "text report",
        Kind.SECONDARY_CAPTURE: "secondary capture",
        Kind.KEY_OBJECTS: "key objects",
        Kind.PRESENTATION_STATE: "presentation state",
        Kind.EVIDENCE_MAP: "evidence map",
        Kind.NOTICE: "notice",
    }
    return f"{names[kind]} ({pydicom.uid.UID(sop_class).name.removesuffix(' Storage')})"


def _jobs(folder: Path) -> list[tuple[str, Case, dict[str, object], bool, Path]]:
    made = list(cases())
    return [
        (name, case, settings, number == 0, folder / f"{form_number}-{number}")
        for form_number, (form, settings) in enumerate(FORMS.items())
        for number, (name, case) in enumerate(made)
        if number == 0 or "compression" not in settings
    ]


def fill_table(
    folder: Path, validators: Sequence[Validator] = VALIDATORS
) -> tuple[dict[str, dict[str, Cell]], list[str]]:
    """Build everything and have it looked at.

    Returns
    -------
    dict, list of str
        Cells by kind of object and validator; every complaint with where it was made.
    """
    cells: dict[str, dict[str, Cell]] = defaultdict(lambda: defaultdict(Cell))
    said: list[str] = []
    for name, case, settings, first, place in track(_jobs(folder), "validating"):
        known = source_complaints(case, place)
        for result in objects(case, place, **settings):
            row = cells[_name(result.kind, result.sop_class_uid)]
            for validator in validators:
                if result.kind not in validator.kinds or not validator.is_there:
                    continue
                if validator.cases is not None and not (first and "compression" not in settings):
                    continue
                found = [c for c in validator.complaints(result.path) if c not in known]
                row[validator.name].looked_at += 1
                row[validator.name].complaints += len(found)
                said += [f"{name}, {result.path.name}: {validator.name}: {c}" for c in found]
        shutil.rmtree(place)
    return cells, said


def markdown(cells: dict[str, dict[str, Cell]], said: list[str]) -> str:
    """The table as Markdown."""
    columns = [validator for validator in VALIDATORS if validator.is_there]
    lines = [
        "# What validators say of the results",
        "",
        "Written by `make validate`; every cell is the number of objects that were looked at,",
        'and "clean" if there was neither an error nor a warning about any of them.',
        "",
        f"Cases: {', '.join(name for name, _ in cases())}.",
        "",
        "A complaint that dciodvfy makes of the source CT in the same words (an empty patient",
        "name, for example) is not counted: a result keeps what its source has. PixelMed takes",
        "ten seconds a report and gets those of the first case in each form. What dsrdump says of",
        "itself (it checks no templates, and not every character set) is no complaint.",
        "",
        "| object | " + " | ".join(column.name for column in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for row, by_validator in sorted(cells.items()):
        words = []
        for column in columns:
            cell = by_validator.get(column.name)
            if cell is None or not cell.looked_at:
                words.append("–")
            elif cell.complaints:
                words.append(f"{cell.complaints} complaints ({cell.looked_at})")
            else:
                words.append(f"clean ({cell.looked_at})")
        lines.append(f"| {row} | " + " | ".join(words) + " |")
    lines += ["", "Versions: " + ", ".join(_versions(columns)) + ".", ""]
    if said:
        lines += ["## What was said", "", *(f"- {line}" for line in sorted(set(said))), ""]
    return "\n".join(lines)


def _versions(validators: Sequence[Validator]) -> list[str]:
    found = []
    for package in sorted({v.package for v in validators if v.package}):
        _, lines = _run("dpkg-query", "-W", "-f", "${Package} ${Version}", package)
        found += lines[:1]
    return [*found, f"pydicom {pydicom.__version__}"]


def main() -> int:
    """Write the table; 1 if anything was complained of."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--out", type=Path, default=TABLE, help="where to (default: %(default)s)")
    out = parser.parse_args().out
    for validator in VALIDATORS:
        if not validator.is_there:
            print(f"left out: {validator.name} (apt-get install {validator.package})")
    with tempfile.TemporaryDirectory() as folder:
        cells, said = fill_table(Path(folder))
    out.write_text(markdown(cells, said), encoding="utf-8")
    print(f"{out}: {len(said)} complaints")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
