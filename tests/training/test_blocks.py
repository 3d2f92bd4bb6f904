"""Blocks of neighbours: where they lie, in what order, and how they are read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import TrainingError
from training.stage1.blocks import Blocks, block_around, deal, loader, steps_of
from training.store import UNKNOWN, Series


def series(folder, name, n=12, size=16, labels=None, seed=0):
    """A series whose slices say in their values which they are."""
    path = folder / f"{name}.npy"
    hu = np.arange(n, dtype=np.int16)[:, None, None] + np.zeros((1, size, size), np.int16)
    np.save(path, hu + 100 * seed)
    if labels is None:
        labels = np.zeros((n, 6), dtype=np.uint8)
        labels[n // 2 :, -1] = 1
    return Series(
        name=name,
        patient=name,
        study=name,
        scanner="",
        thickness_mm=5.0,
        sop_instance_uids=tuple(f"{name}.{i}" for i in range(n)),
        positions_mm=tuple(5.0 * i for i in range(n)),
        labels=labels,
        study_labels=labels.max(axis=0),
        path=path,
    )


def test_a_block_lies_around_its_middle():
    assert block_around(10, 7, 30) == (7, 8, 9, 10, 11, 12, 13)


@pytest.mark.parametrize("middle", [0, 1, 2, 3])
def test_at_the_foot_a_block_is_shifted_inside(middle):
    assert block_around(middle, 7, 30) == (0, 1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("middle", [26, 27, 28, 29])
def test_at_the_head_a_block_is_shifted_inside(middle):
    assert block_around(middle, 7, 30) == (23, 24, 25, 26, 27, 28, 29)


def test_a_series_shorter_than_a_block_repeats_its_ends():
    assert block_around(0, 7, 3) == (0, 0, 0, 1, 2, 2, 2)
    assert block_around(0, 7, 1) == (0,) * 7


@given(st.integers(1, 60), st.integers(1, 12), st.data())
def test_every_block_is_of_neighbours_inside_the_series(total, length, data):
    block = block_around(data.draw(st.integers(0, total - 1)), length, total)
    assert len(block) == length
    assert min(block) >= 0
    assert max(block) < total
    assert set(np.diff(block)) <= ({1} if total >= length else {0, 1})


def test_every_series_gives_as_many_blocks_as_asked_for():
    blocks = deal([20, 30, 5], 7, 4, (0, 0, 0))
    assert sorted(block.series for block in blocks) == [0] * 4 + [1] * 4 + [2] * 4


def test_over_epochs_every_slice_is_seen():
    seen = {i for e in range(200) for block in deal([20], 7, 1, (0, 0, e)) for i in block.slices}
    assert seen == set(range(20))


def test_the_same_key_deals_the_same_and_another_epoch_otherwise():
    lengths = [20 + i for i in range(30)]
    assert deal(lengths, 7, 1, (1, 0, 3)) == deal(lengths, 7, 1, (1, 0, 3))
    assert deal(lengths, 7, 1, (1, 0, 3)) != deal(lengths, 7, 1, (1, 0, 4))
    assert deal(lengths, 7, 1, (1, 0, 3)) != deal(lengths, 7, 1, (2, 0, 3))


@given(st.integers(1, 90), st.integers(1, 20), st.integers(1, 4))
def test_processes_share_an_epoch_without_rest_and_step_together(count, size, ranks):
    blocks = deal([9] * count, 7, 1, (0, 0, 0))
    try:
        shares = [steps_of(blocks, size, rank, ranks) for rank in range(ranks)]
    except TrainingError:
        assert count < -(-count // size) * ranks
        return
    assert len({len(share) for share in shares}) == 1
    dealt = [block for step in zip(*shares, strict=True) for part in step for block in part]
    assert dealt == list(blocks)
    for step in zip(*shares, strict=True):
        assert sum(map(len, step)) <= size
    sizes = {len(part) for share in shares for part in share}
    assert max(sizes) - min(sizes) <= 1


def test_more_processes_than_blocks_is_told():
    with pytest.raises(TrainingError, match="2 blocks do not reach for 3 processes"):
        steps_of(deal([9, 9], 7, 1, (0, 0, 0)), 16, 0, 3)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_holds_the_slices_of_its_blocks_with_their_labels(tmp_path, workers):
    data = [series(tmp_path, "a"), series(tmp_path, "b", n=20, seed=1)]
    reader, order = loader(data, workers, pin=False)
    order.steps = steps_of(deal([12, 20], 7, 3, (0, 0, 0)), 4)
    batches = list(reader)
    assert [len(batch) for batch in batches] == [21, 21]
    for batch, blocks in zip(batches, order.steps, strict=True):
        expected = [100 * block.series + i for block in blocks for i in block.slices]
        assert batch.groups[0][:, 3, 5].tolist() == expected
        truth = [data[block.series].labels[i].tolist() for block in blocks for i in block.slices]
        assert batch.labels.tolist() == truth


def test_slices_of_several_sizes_go_into_groups_with_their_labels(tmp_path):
    data = [series(tmp_path, "a"), series(tmp_path, "b", size=20, seed=1)]
    data += [series(tmp_path, "c", seed=2)]
    batch = Blocks(data)[deal([12, 12, 12], 7, 2, (0, 0, 0))]
    assert {tuple(group.shape) for group in batch.groups} == {(28, 16, 16), (14, 20, 20)}
    slices = [int(value) % 100 for group in batch.groups for value in group[:, 0, 0]]
    assert batch.labels[:, -1].tolist() == [float(i >= 6) for i in slices]


def test_a_series_without_labels_of_its_slices_is_refused(tmp_path):
    unknown = np.full((12, 6), UNKNOWN, dtype=np.uint8)
    with pytest.raises(TrainingError, match="series b has no labels of its slices"):
        Blocks([series(tmp_path, "a"), series(tmp_path, "b", labels=unknown)])


def test_nothing_to_find_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="no slice of what there is to train on has a bleed"):
        Blocks([series(tmp_path, "a", labels=np.zeros((12, 6), np.uint8))])
    with pytest.raises(TrainingError, match="no series is left"):
        Blocks([])
