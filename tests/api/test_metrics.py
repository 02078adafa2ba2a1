import numpy as np
import pytest

import fastfcn as ff


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "int64", "uint64"])
def test_one_hot_has_a_one_at_each_label(kind):
    rows = ff.one_hot(np.array([2, 0, 1, 2], kind))
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_one_hot_takes_the_number_of_classes_and_the_dtype():
    rows = ff.one_hot([0, 1], 4, dtype=np.float64)
    assert rows.dtype == np.float64 and rows.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert ff.one_hot(np.array([], int), 3).shape == (0, 3)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
def test_one_hot_rejects_labels_outside(labels):
    with pytest.raises(ValueError, match="labels must be between 0 and 2"):
        ff.one_hot(labels, 3)


def test_one_hot_rejects_labels_that_are_not_integers_or_not_a_row():
    with pytest.raises(TypeError, match="integers"):
        ff.one_hot([0.0, 1.0])
    with pytest.raises(ValueError, match="shape"):
        ff.one_hot([[0, 1]])


def test_accuracy_is_the_share_of_equal_labels():
    assert ff.accuracy([0, 1, 2, 1], [0, 1, 1, 1]) == 0.75
    assert isinstance(ff.accuracy(np.array([1]), np.array([1])), float)


def test_accuracy_takes_the_largest_score_of_each_row():
    scores = np.array([[0.1, 0.9], [2.0, -1.0], [0.0, 1.0]], np.float32)
    assert ff.accuracy([1, 0, 0], scores) == pytest.approx(2 / 3)


def test_accuracy_rejects_other_lengths_and_no_samples():
    with pytest.raises(ValueError, match="length"):
        ff.accuracy([0, 1], [0])
    with pytest.raises(ValueError, match="length"):
        ff.accuracy([], [])


def test_confusion_matrix_counts_true_by_row_and_predicted_by_column():
    true, predicted = [0, 0, 1, 2, 2, 2], [0, 1, 1, 0, 2, 2]
    expected = [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert ff.confusion_matrix(true, predicted).tolist() == expected
    assert ff.confusion_matrix(true, ff.one_hot(predicted)).tolist() == expected


def test_accuracy_is_the_trace_of_the_confusion_matrix():
    rng = np.random.default_rng(0)
    true, scores = rng.integers(0, 5, 200), rng.normal(size=(200, 5))
    matrix = ff.confusion_matrix(true, scores)
    assert matrix.sum() == 200
    assert ff.accuracy(true, scores) == np.trace(matrix) / 200


def test_accuracy_says_so_where_predictions_come_first():
    with pytest.raises(ValueError, match="y_true must have shape.*the predictions come second"):
        ff.accuracy(np.zeros((4, 2)), [0, 1, 0, 1])
