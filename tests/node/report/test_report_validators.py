"""Judges that do not know this project: dciodvfy, DCMTK and PixelMed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from node.report import Kind

PIXELMED = Path("/usr/share/java/pixelmed.jar")

EXPECTED_WARNINGS = (
    # what the source leaves empty stays empty
    "Warning - Missing attribute or value that would be needed to build DICOMDIR",
    "Warning - Value dubious for this VR - (0x0010,0x0010) PN Patient's Name",
    # a secondary capture names the frame of reference of its slice
    "Warning - Attribute is not present in standard DICOM IOD - (0x0020,0x0052)",
    "Warning - Attribute is not present in standard DICOM IOD - (0x0020,0x1040)",
    "Warning - Dicom dataset contains attributes not present in standard DICOM IOD",
)

needs_dciodvfy = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy")
needs_dcmtk = pytest.mark.skipif(shutil.which("dsrdump") is None, reason="no DCMTK")


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=200, check=False
    )


def complaints(path: Path) -> list[str]:
    done = run("dciodvfy", path)
    lines = (done.stdout + done.stderr).splitlines()
    return [
        line
        for line in lines
        if line.startswith(("Error", "Warning")) and not line.startswith(EXPECTED_WARNINGS)
    ] + ([] if done.returncode == 0 else [f"exit status {done.returncode}"])


@needs_dciodvfy
def test_dciodvfy_has_nothing_to_say(results):
    for result in results:
        assert complaints(result.path) == []


@needs_dciodvfy
def test_dciodvfy_sees_the_kinds_that_were_meant(results):
    kinds = {
        result.kind: run("dciodvfy", result.path).stderr.splitlines()[-4:] for result in results
    }
    assert "Comprehensive3DSR" in kinds[Kind.STRUCTURED_REPORT]
    assert "SCImage" in kinds[Kind.SECONDARY_CAPTURE]


@needs_dciodvfy
def test_dciodvfy_accepts_results_of_an_enhanced_image(make_case, tmp_path):
    for result in make_case(3, enhanced=True).build(tmp_path):
        assert complaints(result.path) == []


@needs_dciodvfy
@needs_dcmtk
@pytest.mark.data
def test_results_of_real_series_are_valid(real_case, tmp_path):
    results = real_case.build(tmp_path)
    assert len(results) == 1 + len(real_case.volume)
    for result in results:
        assert complaints(result.path) == []
    assert run("dsrdump", results[0].path).returncode == 0


@needs_dcmtk
def test_dcmtk_reads_the_report_with_no_warning(results):
    done = run("dsrdump", "+Pl", results[0].path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "Comprehensive 3D SR Document" in done.stdout
    assert "NOT FOR CLINICAL USE" in done.stdout


@needs_dcmtk
def test_dcmtk_shows_the_picture(results, tmp_path):
    done = run("dcm2pnm", "--write-png", results[1].path, tmp_path / "picture.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.png").stat().st_size > 1000


@pytest.mark.skipif(not PIXELMED.is_file() or shutil.which("java") is None, reason="no PixelMed")
def test_pixelmed_finds_the_template_and_no_fault(make_case, tmp_path):
    report = make_case(1).build(tmp_path)[0]
    limits = [
        f"-Djdk.xml.{name}=0"
        for name in ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit")
    ]
    done = run(
        "java",
        "-XX:TieredStopAtLevel=1",  # half a minute otherwise
        "-XX:+UseSerialGC",
        *limits,
        "-Xss16m",
        "-cp",
        PIXELMED,
        "com.pixelmed.validate.DicomSRValidator",
        report.path,
    )
    assert done.stdout.splitlines() == [
        "Found Comprehensive3DSR IOD",
        "Found Root Template TID_1500 (MeasurementReport)",
        "Root Template Validation Complete",
        "IOD validation complete",
    ]
