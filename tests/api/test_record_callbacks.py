"""Callbacks that write down or show how training goes."""

import csv
import sys

import pytest

from api.checks import same_state
from api.fitting import N, data, fitted
from fastfcn.callbacks import CSVLogger, ProgressBar, TensorBoard

HELD_OUT = data(seed=1)


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---- CSVLogger ---------------------------------------------------------------------------------


def test_the_csv_file_is_the_history_and_grows_with_it(tmp_path):
    path = tmp_path / "new" / "history.csv"
    lengths = []

    class Look:
        def on_epoch_end(self, run):
            lengths.append(len(rows(path)))

    x, y = data()
    _, history = fitted(x, y, epochs=3, callbacks=[CSVLogger(path), Look()])
    assert lengths == [1, 2, 3]
    columns = history.as_dict()
    written = rows(path)
    assert list(written[0]) == list(columns)
    for name, values in columns.items():
        texts = [row[name] for row in written]
        assert [float(t) if t else None for t in texts] == values, name


def test_an_appending_logger_counts_the_epochs_on(tmp_path):
    path = tmp_path / "history.csv"
    x, y = data()
    for _ in range(2):
        fitted(x, y, epochs=2, callbacks=[CSVLogger(path, append=True)])
    assert [row["epoch"] for row in rows(path)] == ["1", "2", "3", "4"]
    fitted(x, y, epochs=1, callbacks=[CSVLogger(path)])
    assert [row["epoch"] for row in rows(path)] == ["1"]


def test_a_row_that_a_crash_left_half_written_is_dropped(tmp_path):
    path = tmp_path / "history.csv"
    x, y = data()
    fitted(x, y, epochs=2, callbacks=[CSVLogger(path)])
    whole = path.read_text()
    path.write_text(whole + "3,0.12")
    fitted(x, y, epochs=1, callbacks=[CSVLogger(path, append=True)])
    assert path.read_text().startswith(whole)
    assert [row["epoch"] for row in rows(path)] == ["1", "2", "3"]
    path.write_text("epo")
    fitted(x, y, epochs=1, callbacks=[CSVLogger(path, append=True)])
    assert [row["epoch"] for row in rows(path)] == ["1"]


def test_a_file_of_other_columns_is_not_appended_to(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("name,age\nA,3\n")
    x, y = data()
    with pytest.raises(ValueError, match="other.csv must have the columns"):
        fitted(x, y, callbacks=[CSVLogger(path, append=True)])
    assert path.read_text() == "name,age\nA,3\n"


@pytest.mark.parametrize("end", [b"sum,1\n", b"\xff\n", b"\n"])
def test_a_file_that_ends_in_no_epoch_is_not_appended_to(tmp_path, end):
    path = tmp_path / "history.csv"
    x, y = data()
    fitted(x, y, callbacks=[CSVLogger(path)])
    path.write_bytes(before := path.read_bytes() + end)
    with pytest.raises(ValueError, match="history.csv must end with an epoch's row"):
        fitted(x, y, callbacks=[CSVLogger(path, append=True)])
    assert path.read_bytes() == before


# ---- ProgressBar -------------------------------------------------------------------------------


def test_progress_is_one_plain_line_an_epoch_where_there_is_no_terminal(capsys):
    x, y = data()
    fitted(x, y, epochs=3)
    assert capsys.readouterr() == ("", "")
    for options in ({"progress": True}, {"callbacks": [ProgressBar()]}):
        fitted(x, y, epochs=3, **options)
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if "loss" in line]
        assert out == "" and len(lines) == 3 and "\r" not in err
        assert lines[0].startswith("epoch 1/3  loss ")


def test_progress_says_why_training_stopped(capsys):
    class Stop:
        def on_epoch_end(self, run):
            run.stop("that will do")

    x, y = data()
    fitted(x, y, progress=True, callbacks=[Stop()])
    assert capsys.readouterr().err.splitlines()[-1] == "stopped: that will do"


def test_on_a_terminal_the_bar_counts_every_sample(monkeypatch):
    import tqdm

    counted, totals = [], []

    class Bar:
        def __init__(self, total, **options):
            totals.append(total)

        def update(self, samples):
            counted.append(samples)

        def set_description_str(self, text):
            pass

        def close(self):
            counted.append("closed")

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    x, y = data()
    fitted(x, y, epochs=3, progress=True)
    assert totals == [3 * N] and counted.pop() == "closed" and sum(counted) == 3 * N


def test_showing_progress_does_not_change_the_result(capsys):
    x, y = data()
    shown, hidden = fitted(x, y, progress=True)[0], fitted(x, y)[0]
    assert same_state(shown.state_dict(), hidden.state_dict())


# ---- TensorBoard -------------------------------------------------------------------------------


def test_without_its_package_tensorboard_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'fastfcn\[tensorboard\]'"):
        TensorBoard(tmp_path)


def test_tensorboard_gets_every_measured_value(monkeypatch, tmp_path):
    pytest.importorskip("tensorboardX")
    import tensorboardX

    scalars = {}

    class Writer(tensorboardX.SummaryWriter):
        def add_scalar(self, tag, value, step):
            scalars.setdefault(tag, []).append((step, value))
            super().add_scalar(tag, value, step)

    monkeypatch.setattr(tensorboardX, "SummaryWriter", Writer)
    x, y = data()
    _, history = fitted(x, y, callbacks=[TensorBoard(tmp_path / "run")], validation_data=HELD_OUT)
    assert scalars["loss/train"] == list(zip(history.epoch, history.loss, strict=True))
    assert scalars["accuracy/validation"][1] == (2, history.val_accuracy[1])
    assert scalars["learning_rate"] == [(1, 0.05), (2, 0.05)]
    (file,) = (tmp_path / "run").iterdir()
    assert file.stat().st_size > 200
    scalars.clear()
    fitted(x, y, callbacks=[TensorBoard(tmp_path / "run")])
    assert "loss/validation" not in scalars and "loss/train" in scalars


def test_tensorboard_keeps_what_an_earlier_fit_wrote(tmp_path):
    pytest.importorskip("tensorboardX")
    x, y = data()
    net, history = fitted(x, y, epochs=2, callbacks=[TensorBoard(tmp_path)])
    (first,) = tmp_path.iterdir()
    before = first.read_bytes()
    fitted(x, y, net=net, epochs=3, history=history, callbacks=[TensorBoard(tmp_path)])
    assert len(list(tmp_path.iterdir())) == 2
    assert first.read_bytes() == before
