"""A folder that peers can fill has an end."""

from pathlib import Path

from node.allowance import LOOK_AGAIN_S, Allowance
from tests.conftest import Clock

KB = 1024


def test_what_is_there_already_counts(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "instance.dcm").write_bytes(bytes(100 * KB))

    assert not Allowance(tmp_path, 100 * KB, clock).take(1)
    assert Allowance(tmp_path, 150 * KB, clock).take(1)


def test_there_is_room_until_it_is_used_up(tmp_path: Path, clock: Clock) -> None:
    allowance = Allowance(tmp_path, 200 * KB, clock)

    assert [allowance.take(80 * KB) for _ in range(3)] == [True, True, False]


def test_many_small_files_count_for_what_they_take_of_the_disk(
    tmp_path: Path, clock: Clock
) -> None:
    allowance = Allowance(tmp_path, 120 * KB, clock)

    assert sum(allowance.take(1) for _ in range(100)) < 10


def test_room_that_people_make_is_seen_after_a_while(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "instance.dcm"
    file.write_bytes(bytes(100 * KB))
    allowance = Allowance(tmp_path, 100 * KB, clock)
    assert not allowance.take(1)
    file.unlink()

    assert not allowance.take(1)
    clock.pass_s(LOOK_AGAIN_S + 1)
    assert allowance.take(1)


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path, clock: Clock) -> None:
    assert Allowance(tmp_path / "none", 100 * KB, clock).take(KB)
