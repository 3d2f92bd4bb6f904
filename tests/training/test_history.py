"""The table and the curves of a training."""

import csv
import math

from training.stage1.history import CLOCK, Epoch, curves, write_history


def epochs(count, val_loss=math.nan):
    return [
        Epoch(i + 1, 0.5 / (i + 1), val_loss, 1e-4 * (count - i), 112, 2.0, 56.0)
        for i in range(count)
    ]


def test_the_table_has_a_line_for_each_epoch_and_blanks_where_nothing_was_measured(tmp_path):
    write_history(tmp_path, epochs(3))
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["loss"]) for row in rows] == [0.5, 0.25, 0.5 / 3]
    assert {row["val_loss"] for row in rows} == {""}
    assert set(CLOCK) <= rows[0].keys()


def test_the_curves_are_a_picture(tmp_path):
    write_history(tmp_path, epochs(2))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.part"))


def test_the_held_out_loss_is_drawn_where_there_is_one():
    def lines(figure):
        return [line.get_label() for axes in figure.axes for line in axes.get_lines()]

    assert lines(curves(epochs(2))) == ["training (changed slices)", "learning rate"]
    assert "held-out fold" in lines(curves(epochs(2, val_loss=0.3)))
