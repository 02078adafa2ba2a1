"""Class probabilities."""

import numpy as np
import pytest

import fastfcn as ff
import reference
from api.checks import (
    DTYPES,
    mlp,
    same_bits,
)
from api.fitting import SIZES, data
from fastfcn import nn


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_are_the_softmax_of_the_outputs(dtype):
    x, _ = data(dtype)
    net = mlp(SIZES, dtype=dtype)
    p = ff.predict_proba(net, x)
    assert p.dtype == dtype
    np.testing.assert_allclose(
        p, reference.softmax(ff.predict(net, x)), rtol=32 * np.finfo(dtype).eps
    )
    assert same_bits(ff.predict_proba(net, x[7:8])[0], p[7])


@pytest.mark.parametrize("last", [nn.Softmax, nn.Sigmoid])
def test_outputs_that_are_probabilities_are_returned_as_they_are(last):
    x, _ = data()
    net = mlp(SIZES, last=last)
    assert same_bits(ff.predict_proba(net, x), ff.predict(net, x))
