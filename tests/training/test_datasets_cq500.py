"""CQ500: votes and predictions, the series of a scan to judge, thin slices, folders and zips."""

import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import ct
from tests.conftest import DATA
from training.datasets.cq500 import read_predictions, read_reads
from training.datasets.cq500_scans import UNPACKED, bake_scan, find_scans
from training.datasets.cq500_series import Candidate, choose, judge
from training.errors import TrainingError
from training.store import ARRAYS, array_path
from training.store.bake import Outcome
from training.store.slabs import average_slabs

COLUMNS = [f"R{r}:{f}" for r in (1, 2, 3) for f in ("ICH", "IPH", "IVH", "SDH", "EDH", "SAH")]


def table(folder, header, *rows):
    path = folder / "table.csv"
    path.write_text("\ufeff" + "\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


# -- votes ---------------------------------------------------------------------


def test_a_finding_is_there_if_two_of_three_readers_saw_it(tmp_path):
    votes = ["1,1,0,0,0,0", "1,0,0,1,0,0", "0,1,0,1,1,0"]
    path = table(tmp_path, "name,Category," + ",".join(COLUMNS), f"CQ500-CT-0,B1,{','.join(votes)}")
    (reads,) = read_reads(path).values()
    assert reads.votes.shape == (3, 6)
    #                                 EDH IPH IVH SAH SDH any
    assert reads.majority.tolist() == [0, 1, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("name,R1:ICH", "x,1", "no column R1:EDH, R1:IPH"),
        (",".join(COLUMNS), "1" + ",0" * 17, "no column name"),
        ("name," + ",".join(COLUMNS), "x" + ",0" * 17 + ",2", "line 2: R3:SAH of x: '2' is not"),
        ("name," + ",".join(COLUMNS), "x" + ",0" * 17 + ",", "line 2: R3:SAH of x: '' is not"),
        ("name," + ",".join(COLUMNS), "x,0", "line 2: 2 values, the header has 19"),
        ("name," + ",".join(COLUMNS), "" + ",0" * 18, "line 2: no name of a scan"),
        ("name," + ",".join(COLUMNS), "x" + ",0" * 18 + "\nx" + ",0" * 18, "line 3: scan x is"),
        ("name," + ",".join(COLUMNS), "", "no scans in it"),
    ],
)
def test_reads_that_are_wrong_are_told_with_their_line(tmp_path, header, row, message):
    with pytest.raises(TrainingError) as told:
        read_reads(table(tmp_path, header, row))
    assert message in str(told.value)


@pytest.mark.data
def test_the_real_votes_are_those_of_491_scans():
    path = DATA / "cq500_reads.csv"
    if not path.is_file():
        pytest.skip("the real reads.csv is not at hand")
    reads = read_reads(path)
    assert len(reads) == 491
    # Chilamkurthy et al., Table 1: 205 ICH, 134 IPH, 28 IVH, 53 SDH, 13 EDH, 60 SAH
    assert sum(one.majority for one in reads.values()).tolist() == [13, 134, 28, 60, 53, 205]


# -- predictions ---------------------------------------------------------------


def test_predictions_stand_in_the_one_order_whatever_the_order_of_the_columns(tmp_path):
    header = "name,Category_New,ICH,IPH,IVH,SDH,EDH,SAH,MassEffect"
    path = table(tmp_path, header, "CQ500-CT-1,B2,0.9,0.5,0.25,0.125,1,0,7")
    assert read_predictions(path)["CQ500-CT-1"].tolist() == [1, 0.5, 0.25, 0, 0.125, 0.9]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,nan,0,0,0,0,0", "line 2: ICH of x: nan is not a number"),
        ("x,1.5,0,0,0,0,0", "line 2: ICH of x: 1.5 is not between 0 and 1"),
        ("x,,0,0,0,0,0", "line 2: ICH of x"),
        ("x,0,0,0,0,0,0\nx,0,0,0,0,0,0", "line 3: scan x is there twice"),
    ],
)
def test_predictions_that_are_wrong_are_told_with_their_line(tmp_path, row, message):
    with pytest.raises(TrainingError) as told:
        read_predictions(table(tmp_path, "name,ICH,IPH,IVH,SAH,SDH,EDH", row))
    assert message in str(told.value)


# -- the series to judge -------------------------------------------------------

PLAIN = """
    CT PLAIN THIN | CT Plain 3mm | CT Plain THIN | CT Plain | CT 55mm Plain | CT Thin Plain
    CT PRE CONTRAST 5MM STD | CT PRE CONTRAST THIN | CT Thin Stnd | CT 55mm Plain-2 | CT 0.625mm
    CT 5mm | CT 2.55mm | CT 2.55mm-4 | CT HELICAL | CT BRAIN PLAIN | CT 3.753.75mm Plain | CT 5 MM
    CT 1.25 | CT SOFT THIN | CT THIN STD | CT Thin Stand | CT 1.25mm std | CT 5 MM PRE CONTRAST-2
    CT THIN | CT DE | CT PLAIN-2 | CT NON CONTRAST | CT HEAD W/O CONTRAST | CT NCCT HEAD | CT C-
"""
CONTRAST = """
    CT POST CONTRAST | CT POST CONTRAST-4 | CT 4cc sec 150cc D3D on | CT 4cc sec 150cc D3D on-3
    CT 5mm POST CONTRAST | CT ORAL IV-3 | CT 55mm Contrast | CT Thin Contrast | CT C | CT C-2
    CT C THIN | CT CECT THIN | CT CONTRAST | CT C+ | CT CTA HEAD | CT ANGIO
"""
SHARP = """
    CT BONE | CT BONE THIN | CT PRE CONTRAST BONE | CT Thin Bone | CT Thin Details | CT HRCT
    CT 0.625 MM HI RES | CT Axial 0.625 HiResVS40 | CT 0.625mm DMPR on HiRes VS40
"""
OTHER = "CT 3D CT HEADORBIT | CT SCOUT | CT COR MPR | CT PNS PLAIN | CT NECK"


def names(text):
    return [name.strip() for line in text.strip().splitlines() for name in line.split("|")]


@pytest.mark.parametrize("folder", names(PLAIN))
def test_a_plain_series_may_be_judged(folder):
    assert judge(Candidate("1", folder=folder)).is_usable


@pytest.mark.parametrize("folder", names(CONTRAST))
def test_a_series_with_contrast_is_never_judged(folder):
    verdict = judge(Candidate("1", folder=folder))
    assert not verdict.is_usable
    assert "with contrast by its name" in verdict.reasons


@pytest.mark.parametrize("folder", names(SHARP))
def test_a_bone_series_is_never_judged(folder):
    verdict = judge(Candidate("1", folder=folder))
    assert not verdict.is_usable
    assert any("sharp kernel" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("folder", names(OTHER))
def test_reformats_and_other_parts_are_never_judged(folder):
    assert not judge(Candidate("1", folder=folder)).is_usable


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kernel": "BONEPLUS"}, "a sharp kernel (BONEPLUS)"),
        ({"kernel": "H70h"}, "a sharp kernel (H70h)"),
        ({"kernel": "FC30"}, "a sharp kernel (FC30)"),
        ({"modality": "MR"}, "modality MR"),
        ({"image_type": ("DERIVED", "SECONDARY", "REFORMATTED")}, "not plain axial slices"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "not plain axial slices"),
        ({"tilt_deg": 90.0}, "not axial"),
        ({"slices": 3}, "3 slices over 150 mm are no head"),
        ({"extent_mm": 20.0}, "30 slices over 20 mm are no head"),
        ({"spacing_mm": 0.0}, "slices 0.0 mm apart"),
        ({"spacing_mm": 20.0}, "slices 20.0 mm apart"),
    ],
)
def test_what_the_headers_say_can_rule_a_series_out(changes, reason):
    verdict = judge(Candidate("1", "CT Plain", **changes))
    assert not verdict.is_usable
    assert reason in " ".join(verdict.reasons)


@pytest.mark.parametrize("kernel", ["STANDARD", "SOFT", "H30s", "H40f", "FC21", "J37s", "UB", ""])
def test_kernels_for_the_brain_do_not_rule_a_series_out(kernel):
    assert judge(Candidate("1", "CT Plain", kernel=kernel)).is_usable


@pytest.mark.parametrize("tilt", [0.0, 21.0])
def test_a_tilted_gantry_is_no_reason_against_a_series(tilt):
    assert judge(Candidate("1", "CT Plain", tilt_deg=tilt)).is_usable


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([("CT Plain", 5), ("CT PLAIN THIN", 0.6), ("CT BONE", 0.6)], "CT Plain"),
        ([("PRE CONTRAST 5MM STD", 5), ("PRE CONTRAST THIN", 0.6), ("POST CONTRAST", 5)],
         "PRE CONTRAST 5MM STD"),
        ([("0.625mm", 0.625), ("5mm", 5), ("4cc/sec 150cc D3D on", 0.6)], "5mm"),
        ([("Plain 3mm", 3), ("PLAIN THIN", 0.8)], "Plain 3mm"),
        ([("2.5/5mm", 5), ("0.625mm", 0.625)], "2.5/5mm"),
        ([("5/5mm Plain", 5), ("5/5mm Contrast", 5), ("Thin Plain", 0.625)], "5/5mm Plain"),
        ([("PLAIN THIN", 0.625), ("BONE", 5), ("C", 5)], "PLAIN THIN"),
        ([("HELICAL", 5), ("Plain", 5)], "Plain"),
    ],
)  # fmt: skip
def test_the_thick_plain_series_is_chosen(offered, chosen):
    candidates = [
        Candidate(str(i), name, spacing_mm=mm, slices=int(150 / mm))
        for i, (name, mm) in enumerate(offered)
    ]
    for order in (candidates, candidates[::-1]):
        best, verdicts = choose(order)
        assert best.candidate.description == chosen
        assert len(verdicts) == len(offered)


def test_of_two_alike_the_one_that_covers_the_head_is_chosen():
    short, whole = (Candidate(n, "Plain", extent_mm=mm) for n, mm in (("1", 70.0), ("2", 150.0)))
    assert choose([short, whole])[0].candidate is whole


def test_a_contrast_agent_in_the_header_counts_less_than_being_called_plain():
    dyed = Candidate("1", "5mm", contrast_agent="OMNIPAQUE")
    thin = Candidate("2", "2.5mm", spacing_mm=2.5)
    assert choose([dyed, thin])[0].candidate is thin
    plain = Candidate("3", "Plain", contrast_agent="OMNIPAQUE")
    assert choose([plain, thin])[0].candidate is plain


def test_of_two_that_are_called_alike_the_one_shown_for_the_brain_or_the_earlier_is_chosen():
    bone = Candidate("1", "5mm", window_width=2500.0, number=1)
    plain = Candidate("3", "5mm", window_width=80.0, number=2)
    later = Candidate("2", "5mm", window_width=80.0, number=3)
    assert choose([bone, later, plain])[0].candidate is plain


def test_nothing_is_chosen_where_nothing_is_usable():
    best, (verdict,) = choose([Candidate("1", "CT BONE")])
    assert best is None
    assert verdict.reasons


# -- thin slices ---------------------------------------------------------------


def test_thin_slices_are_averaged_over_five_millimetres():
    hu = np.arange(16, dtype=np.int16)[:, None, None] * np.ones((1, 2, 2), dtype=np.int16) * 10
    thick, positions, middles = average_slabs(hu, np.arange(16) * 0.625 - 30, 5.0)
    assert thick[:, 0, 0].tolist() == [35, 115]
    assert thick.dtype == np.int16
    assert np.allclose(positions, [-30 + 3.5 * 0.625, -30 + 11.5 * 0.625])
    assert middles == [3, 11]


def test_a_gap_between_slices_is_no_slab():
    hu = np.array([0, 10, 70, 90], dtype=np.int16)[:, None, None]
    thick, positions, middles = average_slabs(hu, np.array([0.0, 1.0, 21.0, 22.0]), 5.0)
    assert thick.ravel().tolist() == [5, 80]
    assert positions.tolist() == [0.5, 21.5]
    assert middles == [0, 2]


@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=60),
    st.integers(-1024, 3000),
)
def test_every_slice_stands_in_one_slab_and_a_level_stays_a_level(steps, level):
    positions = np.cumsum(steps)
    thick, means, middles = average_slabs(
        np.full((len(steps), 2, 3), level, dtype=np.int16), positions, 5.0
    )
    assert (thick == level).all()
    assert len(thick) == len(means) == len(middles) == len(set(middles))
    assert (np.diff(means) > 0).all()
    assert ((positions[0] <= means + 1e-9) & (means <= positions[-1] + 1e-9)).all()


# -- scans on a disk -----------------------------------------------------------


def scan(images, number, series, *, spacing=5.0, slices=30):
    """Write series of a scan as qure.ai names its folders; each is given by its name."""
    for index, name in enumerate(series):

        def change(image, name=name, index=index):
            image.SeriesDescription = name.removeprefix("CT ")
            image.SeriesInstanceUID = f"1.2.{number}.{index}"
            image.SOPInstanceUID = f"1.2.{number}.{index}.{image.InstanceNumber}"

        step = 0.625 if "thin" in name.lower() else spacing
        count = round(slices * spacing / step)
        place = images / f"CQ500CT{number} CQ500CT{number}" / "Unknown Study" / name
        ct.series(place, [step * i for i in range(count)], change)


def packed(images, number):
    """Replace the folder of a scan by a zip."""
    folder = images / f"CQ500CT{number} CQ500CT{number}"
    path = images / f"CQ500-CT-{number}.zip"
    with zipfile.ZipFile(path, "w") as out:
        for file in sorted(folder.rglob("*.dcm")):
            out.write(file, file.relative_to(images))
    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    folder.rmdir()
    return path


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "store"
    (path / ARRAYS).mkdir(parents=True)
    return path


def baked(images, store) -> list[Outcome]:
    return [bake_scan(one, store, 0) for one in find_scans(images)]


def test_scans_are_found_by_number_in_folders_and_zips(tmp_path, store):
    images = tmp_path / "images"
    scan(images / "batch 1", 12, ["CT Plain"], slices=14)
    scan(images, 3, ["CT Plain"], slices=14)
    packed(images, 3)
    (images / "notes.txt").write_text("x")
    assert [one.name for one in find_scans(images)] == ["CQ500-CT-3", "CQ500-CT-12"]
    assert [outcome.baked.study for outcome in baked(images, store)] == [
        "CQ500-CT-3",
        "CQ500-CT-12",
    ]


def test_the_chosen_series_becomes_an_array_and_the_others_are_listed(tmp_path, store):
    scan(tmp_path / "i", 0, ["CT Plain", "CT PLAIN THIN", "CT BONE", "CT POST CONTRAST"], slices=14)
    (outcome,) = baked(tmp_path / "i", store)
    assert np.load(array_path(store, outcome.baked.name)).shape == (14, ct.ROWS, ct.COLUMNS)
    assert outcome.baked.thickness_mm == 5.0
    said = {one.name: one.reason for one in outcome.baked.skipped}
    assert set(said) == {f"CQ500-CT-0: {n}" for n in ("PLAIN THIN", "BONE", "POST CONTRAST")}
    assert said["CQ500-CT-0: PLAIN THIN"].startswith("another one is better")
    assert "sharp kernel" in said["CQ500-CT-0: BONE"]


def test_a_scan_with_thin_slices_only_is_averaged(tmp_path, store):
    scan(tmp_path / "i", 0, ["CT PLAIN THIN"], slices=16)
    (outcome,) = baked(tmp_path / "i", store)
    assert len(outcome.baked.sop_instance_uids) == 16
    assert outcome.baked.thickness_mm == pytest.approx(5.0)
    assert outcome.baked.warnings[-1] == "slices 0.62 mm apart averaged to 5 mm"


def test_a_zip_gives_the_same_array_as_a_folder_and_leaves_nothing_behind(tmp_path, store):
    scan(tmp_path / "i", 0, ["CT Plain"], slices=14)
    (folder,) = baked(tmp_path / "i", store)
    packed(tmp_path / "i", 0)
    (zipped,) = baked(tmp_path / "i", store)
    assert zipped.baked.crc32 == folder.baked.crc32
    assert zipped.baked.sop_instance_uids == folder.baked.sop_instance_uids
    assert list((store / UNPACKED).iterdir()) == []


def test_a_scan_without_a_usable_series_is_excluded_with_the_reasons(tmp_path, store):
    scan(tmp_path / "i", 0, ["CT BONE", "CT POST CONTRAST"], slices=14)
    (outcome,) = baked(tmp_path / "i", store)
    assert outcome.baked is None
    assert outcome.skipped[-1].kind == "scan"
    assert outcome.skipped[-1].reason == "no series that is plain axial head CT"
    assert len(outcome.skipped) == 3


def test_damaged_files_of_a_scan_are_listed(tmp_path, store):
    scan(tmp_path / "i", 0, ["CT Plain"], slices=14)
    (tmp_path / "i" / "CQ500CT0 CQ500CT0" / "README").write_text("not an image")
    (outcome,) = baked(tmp_path / "i", store)
    assert outcome.baked is not None
    assert [one.name for one in outcome.baked.skipped] == ["CQ500-CT-0/README"]


def hostile(name, **changes):
    member = zipfile.ZipInfo(name)
    for key, value in changes.items():
        setattr(member, key, value)
    return member


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (hostile("../outside.dcm"), "would lie outside of its folder"),
        (hostile("/etc/outside.dcm"), "would lie outside of its folder"),
        (hostile("a\\..\\..\\outside.dcm"), "would lie outside of its folder"),
        (hostile("link", external_attr=(stat.S_IFLNK | 0o777) << 16), "is a link"),
    ],
)
def test_a_hostile_zip_is_refused_whole(tmp_path, store, member, reason):
    with zipfile.ZipFile(tmp_path / "CQ500-CT-0.zip", "w") as out:
        out.writestr("harmless.dcm", "x")
        out.writestr(member, "/etc/passwd")
    (outcome,) = baked(tmp_path, store)
    assert outcome.baked is None
    assert reason in outcome.skipped[0].reason
    assert not list(tmp_path.rglob("outside*"))
    assert not list(tmp_path.rglob("harmless*"))


def test_a_zip_that_would_fill_the_disk_is_refused_before_it_is_unpacked(tmp_path, store):
    path = tmp_path / "CQ500-CT-0.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("bomb.dcm", b"\0" * 1000)
    content = path.read_bytes()
    claimed = (2**32 - 2).to_bytes(4, "little")
    content = content.replace((1000).to_bytes(4, "little"), claimed)
    path.write_bytes(content)
    many = tmp_path / "CQ500-CT-1.zip"
    with zipfile.ZipFile(many, "w") as out:
        for i in range(6):
            out.writestr(f"{i}.dcm", b"\0" * 1000)
    many.write_bytes(many.read_bytes().replace((1000).to_bytes(4, "little"), claimed))
    outcomes = baked(tmp_path, store)
    assert "would take more than 20 GB" in outcomes[1].skipped[0].reason
    assert all(one.baked is None for one in outcomes)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", None])
def test_a_damaged_zip_is_listed(tmp_path, store, content):
    scan(tmp_path / "i", 0, ["CT Plain"], slices=14)
    path = packed(tmp_path / "i", 0)
    path.write_bytes(path.read_bytes()[:-3000] if content is None else content)
    (outcome,) = baked(tmp_path / "i", store)
    assert outcome.baked is None
    assert "CQ500-CT-0.zip cannot be unpacked" in outcome.skipped[0].reason


def test_a_zip_with_a_damaged_member_is_listed(tmp_path, store):
    scan(tmp_path / "i", 0, ["CT Plain"], slices=14)
    path = packed(tmp_path / "i", 0)
    content = bytearray(path.read_bytes())
    content[2000] ^= 255
    path.write_bytes(content)
    (outcome,) = baked(tmp_path / "i", store)
    assert "Bad CRC-32" in outcome.skipped[0].reason


# -- real scans ----------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("archive", "number", "slices"),
    [("cq500_negative_30", 47, 30), ("cq500_intraparenchymal_30", 427, 30)],
)
def test_a_real_scan_becomes_an_array_in_hu(real_series, tmp_path, store, archive, number, slices):
    files = real_series(archive)
    place = tmp_path / "i" / f"CQ500CT{number} CQ500CT{number}" / "Unknown Study" / "CT Plain"
    place.mkdir(parents=True)
    for path in files:
        (place / Path(path).name).symlink_to(path)
    (outcome,) = baked(tmp_path / "i", store)
    assert outcome.baked.patient == f"CQ500-CT-{number}"
    assert list(outcome.baked.positions_mm) == sorted(outcome.baked.positions_mm)
    hu = np.load(array_path(store, outcome.baked.name))
    assert hu.shape == (slices, 512, 512)
    assert hu.min() == -1024  # the padding of -2000 is air
    assert 1000 < hu.max() < 6000
