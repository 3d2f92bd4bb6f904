"""The spool: whole files under safe names, or none."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.errors import SpoolError
from node.spool import Spool, digest_of, is_uid, write_durably

STUDY, SERIES, IMAGE = "1.2.3", "1.2.3.4", "1.2.3.4.5"
CONTENT = b"DICM" * 100
DIGEST = digest_of(CONTENT)


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "home")


# -- UIDs ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["1", "1.2.840.10008", "2.25." + "9" * 39, "0.1", "1.02.3", "1" * 64]
)
def test_digits_and_dots_are_a_uid(value: str) -> None:
    assert is_uid(value)


@pytest.mark.parametrize(
    "value",
    [
        *("", ".", "..", "1.", ".1", "1..2", "1.2 ", "1.2\n", "1.2\x00", "1" * 65),
        *(
            "../../etc/passwd",
            "1/2",
            "1\\2",
            "/1.2",
            "1.2.a",
            "ID_1234",
            "١.٢",
            "１.２",
            "-1.2",
            "1e5",
        ),
    ],
)
def test_anything_else_is_not(value: str) -> None:
    assert not is_uid(value)


hostile = st.one_of(
    st.text(max_size=70),
    st.text(alphabet="./\\0123456789~%\x00\n", max_size=70),
    st.sampled_from(["..", "../..", "/etc", "1.2/../../..", "CON", "", "1.2\x00.3", "~root"]),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(study=hostile, series=hostile, image=hostile)
def test_no_uid_makes_a_file_outside_of_the_spool(
    tmp_path: Path, study: str, series: str, image: str
) -> None:
    spool = Spool(tmp_path / "home")
    before = {p for p in files(tmp_path) if not p.startswith("home/spool/")}
    try:
        kept = spool.keep(study, series, image, DIGEST, CONTENT)
    except SpoolError as error:
        assert "not a UID" in str(error)
    else:
        assert all(is_uid(uid) for uid in (study, series, image))
        assert spool.path(kept).resolve().is_relative_to(spool.folder.resolve())
    assert {p for p in files(tmp_path) if not p.startswith("home/spool/")} == before


# -- keeping -------------------------------------------------------------------


def test_an_instance_is_kept_by_study_series_and_instance(spool: Spool) -> None:
    kept = spool.keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT)
    assert kept == Path(STUDY) / SERIES / f"{IMAGE}.{DIGEST[:16]}.dcm"
    assert spool.path(kept).read_bytes() == CONTENT
    assert files(spool.folder) == [str(kept)]


def test_two_contents_of_one_uid_are_both_kept(spool: Spool) -> None:
    other = CONTENT + b"!"
    first = spool.keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT)
    second = spool.keep(STUDY, SERIES, IMAGE, digest_of(other), other)
    assert first != second
    assert spool.path(first).read_bytes() == CONTENT
    assert spool.path(second).read_bytes() == other


def test_the_same_content_is_not_written_again(spool: Spool) -> None:
    kept = spool.keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT)
    before = spool.path(kept).stat()
    assert spool.keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT) == kept
    after = spool.path(kept).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_that_was_cut_is_written_anew_when_it_comes_again(spool: Spool) -> None:
    kept = spool.keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT)
    spool.path(kept).write_bytes(CONTENT[:7])
    spool.keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT)
    assert spool.path(kept).read_bytes() == CONTENT


def test_the_longest_uids_fit_into_a_file_name(spool: Spool) -> None:
    longest = "1." + "2" * 62
    kept = spool.keep(longest, longest, longest, DIGEST, CONTENT)
    assert spool.path(kept).read_bytes() == CONTENT


def test_results_of_a_revision_have_a_folder_of_their_own(spool: Spool) -> None:
    assert spool.results_folder(STUDY, SERIES, 2) == spool.results / STUDY / SERIES / "r2"
    assert not spool.results.is_relative_to(spool.folder)


# -- checking ------------------------------------------------------------------


def test_what_was_received_passes_the_check(spool: Spool) -> None:
    assert spool.holds(spool.keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT), DIGEST)


def test_an_altered_file_is_found(spool: Spool) -> None:
    kept = spool.keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT)
    altered = bytearray(CONTENT)
    altered[9] ^= 1
    spool.path(kept).write_bytes(altered)
    assert not spool.holds(kept, DIGEST)


def test_a_missing_file_is_found(spool: Spool) -> None:
    kept = spool.keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT)
    spool.path(kept).unlink()
    assert not spool.holds(kept, DIGEST)


def test_a_spool_that_is_not_mounted_is_no_missing_file(spool: Spool) -> None:
    kept = spool.keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT)
    spool.folder.rename(spool.home / "elsewhere")
    with pytest.raises(SpoolError, match="is its disk mounted"):
        spool.holds(kept, DIGEST)


# -- quarantine ----------------------------------------------------------------


def test_a_refused_instance_is_kept_with_its_reason(spool: Spool) -> None:
    folder = spool.quarantine(CONTENT, "from SCANNER: SOPInstanceUID is missing")
    assert folder.parent == spool.quarantined
    assert (folder / "instance.dcm").read_bytes() == CONTENT
    assert (folder / "reason.txt").read_text() == "from SCANNER: SOPInstanceUID is missing\n"
    assert files(spool.folder) == []


def test_refused_instances_do_not_overwrite_each_other(spool: Spool) -> None:
    folders = {spool.quarantine(CONTENT, "odd") for _ in range(20)}
    assert len(folders) == 20


def test_a_reason_of_any_characters_is_kept(spool: Spool) -> None:
    folder = spool.quarantine(CONTENT, "odd \udcff \x00 ä")
    assert "ä" in (folder / "reason.txt").read_text(encoding="utf-8")


# -- a disk that does not take it ----------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_an_error_and_leaves_no_part_of_a_file(tiny_disk: Path) -> None:
    spool = Spool(tiny_disk)
    kept = spool.keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT)
    big = bytes(100_000)
    with pytest.raises(SpoolError, match="cannot be written: No space left"):
        spool.keep(STUDY, SERIES, "1.9", digest_of(big), big)
    assert files(tiny_disk) == [f"spool/{kept}"]
    with pytest.raises(SpoolError, match="cannot be written: No space left"):
        spool.quarantine(big, "odd")
    assert not [name for name in files(tiny_disk) if name.endswith((".part", ".dcm"))][1:]


def test_what_did_not_fit_can_be_sent_again(tiny_disk: Path) -> None:
    spool = Spool(tiny_disk)
    filler = tiny_disk / "filler"
    filler.write_bytes(bytes(60_000))
    content = bytes(20_000)
    with pytest.raises(SpoolError):
        spool.keep(STUDY, SERIES, IMAGE, digest_of(content), content)
    filler.unlink()
    kept = spool.keep(STUDY, SERIES, IMAGE, digest_of(content), content)
    assert spool.holds(kept, digest_of(content))


def test_a_disk_that_is_read_only_is_an_error(tiny_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(SpoolError, match="cannot be written: Read-only file system"):
        Spool(tiny_disk).keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT)


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("no folder")
    with pytest.raises(SpoolError, match="cannot be written"):
        Spool(tmp_path).keep(STUDY, SERIES, IMAGE, DIGEST, CONTENT)


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_disk_that_fails_on_the_way_leaves_nothing_under_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "a" / "file.dcm"
    with monkeypatch.context() as broken:
        broken.setattr(step, fail)
        with pytest.raises(OSError, match="Input/output"):
            write_durably(path, CONTENT)
    assert files(tmp_path) == []


def test_a_failed_write_leaves_the_old_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "file.json"
    write_durably(path, b"old")
    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert files(tmp_path) == ["file.json"]
