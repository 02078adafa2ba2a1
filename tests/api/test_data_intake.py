"""Whatever holds the data: frames, tensors, loaders and data sets train to the bits of arrays."""

import numpy as np
import pytest

import fastfcn as ff
from api.checks import mlp, same_bits, same_state
from api.fitting import SIZES, N, data, fitted, sgd
from fastfcn import losses, nn, optim
from fastfcn.intake import as_array
from fastfcn.training import batch_order

HELD_OUT = data(seed=1)


def assert_same(a, b):
    """Two results of ``fitted`` are the same training."""
    (net, history), (other, again) = a, b
    assert same_state(net.state_dict(), other.state_dict())
    np.testing.assert_allclose(history.loss, again.loss, rtol=1e-12)
    assert history.accuracy == pytest.approx(again.accuracy)


# ---- frames ------------------------------------------------------------------------------------


def frames(x, y):
    """The same numbers in frames of pandas and polars, of one type and of several."""
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    names = [f"f{i}" for i in range(x.shape[1])]
    mixed = {name: x[:, i].astype("f4" if i % 2 else "f8") for i, name in enumerate(names)}
    return {
        "pandas": (pd.DataFrame(x, columns=names), pd.Series(y)),
        "pandas, mixed": (pd.DataFrame(mixed), pd.Series(y, dtype="Int64")),
        "pandas, nullable": (pd.DataFrame(mixed).astype("Float64"), pd.Series(y)),
        "polars": (pl.DataFrame(x, schema=names), pl.Series(y)),
        "polars, mixed": (pl.DataFrame(mixed), pl.Series(y)),
    }


@pytest.mark.parametrize(
    "name", ["pandas", "pandas, mixed", "pandas, nullable", "polars", "polars, mixed"]
)
def test_frames_train_and_predict_as_their_arrays(name):
    x, y = data()
    frame, series = frames(x, y)[name]
    assert_same(fitted(frame, series), fitted(x, y))
    net = mlp(SIZES)
    assert same_bits(ff.predict(net, frame), ff.predict(net, x))
    assert same_bits(net(frame), net(x))


def test_booleans_and_counts_beside_floats_are_numbers():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = {"old": [True, False], "size": [1.5, 2.5], "count": np.array([3, 4], np.int8)}
    for frame in (pd.DataFrame(columns), pl.DataFrame(columns)):
        assert as_array(frame, "x").tolist() == [[1.0, 1.5, 3.0], [0.0, 2.5, 4.0]]


def test_a_frame_of_one_type_is_not_copied():
    pd = pytest.importorskip("pandas")
    x, _ = data()
    frame = pd.DataFrame(x)
    assert np.shares_memory(as_array(frame, "x"), frame.to_numpy())


def test_columns_that_are_not_numbers_are_named_with_the_way_out():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = {"age": [1.0, 2.0], "city": ["Ulm", "Bonn"]}
    net = mlp([2, 2])
    dates = pd.DataFrame({"age": [1.0], "born": pd.to_datetime(["2000-01-01"])})
    groups = pd.DataFrame({"age": [1.0], "group": pd.Categorical(["a"])})
    with pytest.raises(TypeError, match=r"must be in memory, got a LazyFrame; pass x.collect\(\)"):
        ff.predict(net, pl.LazyFrame(columns))
    for frame, name in (
        (pd.DataFrame(columns), "city"),
        (pl.DataFrame(columns), "city"),
        (dates, "born"),
        (pl.from_pandas(dates), "born"),
        (groups, "group"),
    ):
        with pytest.raises(TypeError, match=f"x must have numeric columns.*'{name}'") as error:
            ff.predict(net, frame)
        assert "OrdinalEncoder" in str(error.value) and "'age'" not in str(error.value)


def test_a_column_with_missing_values_is_named_with_the_way_out():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = {"age": [1.0, 2.0, 3.0], "height": [1, None, 3]}
    for frame in (
        pd.DataFrame(columns),
        pd.DataFrame(columns).astype({"height": "Int64"}),
        pl.DataFrame(columns),
    ):
        net = mlp([2, 2])
        sgd = optim.SGD(net.parameters())
        with pytest.raises(ValueError, match="column 'height', row 1.*SimpleImputer"):
            ff.predict(net, frame)
        with pytest.raises(ValueError, match="column 'height', row 1.*SimpleImputer"):
            ff.fit(net, frame, [0, 1, 0], loss=losses.CrossEntropyLoss(), optimizer=sgd)
        assert np.isnan(ff.predict(net, frame, check_finite=False)[1]).all()


# ---- tensors and other holders of arrays -------------------------------------------------------


class Holder:
    """Hands out an array by one protocol."""

    def __init__(self, array, **protocol):
        self._array = array


class WithArray(Holder):
    def __array__(self, dtype=None, copy=None):
        return self._array


class WithDLPack(Holder):
    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("holder", [WithArray, WithDLPack])
def test_what_hands_out_an_array_is_read_as_it_lies(holder):
    x, y = data()
    assert np.shares_memory(as_array(holder(x), "x"), x)
    assert_same(fitted(holder(x), holder(y)), fitted(x, y))


def test_a_tensor_on_the_cpu_is_read_as_it_lies():
    torch = pytest.importorskip("torch")
    x, y = data()
    tensor = torch.from_numpy(x.copy())
    array = as_array(tensor, "x")
    assert array.ctypes.data == tensor.data_ptr() and same_bits(array, x)
    assert_same(fitted(tensor, torch.from_numpy(y)), fitted(x, y))
    with pytest.raises(TypeError, match=r"x must be readable.*x\.detach\(\)\.cpu\(\)"):
        ff.predict(mlp(SIZES), tensor.requires_grad_())


def test_memory_maps_are_not_read_into_memory(tmp_path):
    x, _ = data()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert as_array(mapped, "x") is mapped


# ---- batches -----------------------------------------------------------------------------------


def batches(x, y, size=32, *more):
    return [tuple(values[i : i + size] for values in (x, y, *more)) for i in range(0, len(x), size)]


class Loader:
    """Gives its batches as often as asked for, and does not tell how many."""

    def __init__(self, batches):
        self._batches = batches

    def __iter__(self):
        return iter(self._batches)


@pytest.mark.parametrize("kind", [list, Loader])
def test_batches_train_to_the_bits_of_the_arrays(kind):
    x, y = data()
    expected = fitted(x, y, shuffle=False, validation_data=HELD_OUT)
    got = fitted(kind(batches(x, y)), None, validation_data=kind(batches(*HELD_OUT, 50)))
    assert_same(got, expected)
    np.testing.assert_allclose(got[1].val_loss, expected[1].val_loss, rtol=1e-12)
    assert got[1].val_accuracy == pytest.approx(expected[1].val_accuracy)


@pytest.mark.parametrize(
    "loss",
    [
        losses.CrossEntropyLoss(reduction="sum"),
        losses.CrossEntropyLoss(weight=[0.5, 2, 1, 0, 3], ignore_index=1),
    ],
)
def test_the_loss_over_batches_is_that_over_the_arrays(loss):
    x, y = data()
    options = {"loss": loss, "hyper": {"lr": 1e-3}}
    expected = fitted(x, y, shuffle=False, validation_data=HELD_OUT, **options)
    got = fitted(batches(x, y), None, validation_data=batches(*HELD_OUT, 50), **options)
    assert_same(got, expected)
    np.testing.assert_allclose(got[1].val_loss, expected[1].val_loss, rtol=1e-12)
    result = ff.evaluate(got[0], batches(x, y, 50), loss=loss)
    whole = ff.evaluate(got[0], x, y, loss=loss)
    assert result == pytest.approx(whole)


def test_batches_carry_sample_weights():
    x, y = data()
    weights = np.random.default_rng(2).random(N)
    weights[:32] = 0  # a batch that counts for nothing is fine among others
    expected = fitted(x, y, sample_weight=weights, shuffle=False)
    assert_same(fitted(batches(x, y, 32, weights), None), expected)


def test_batches_may_grow_shrink_and_turn_sparse():
    sparse = pytest.importorskip("scipy.sparse")
    x, y = data()
    x[np.random.default_rng(0).random(x.shape) < 0.7] = 0
    cuts = [0, 7, 47, 48, 90, N]
    parts = [(x[a:b], y[a:b]) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    packed = [(sparse.csr_array(a) if i % 3 else a, b) for i, (a, b) in enumerate(parts)]
    net, optimizer = mlp(SIZES), None
    optimizer = sgd(net)
    for part in parts:
        ff.fit(
            net, *part, loss=losses.CrossEntropyLoss(), optimizer=optimizer, shuffle=False,
            batch_size=len(part[0]),
        )  # fmt: skip
    for given in (parts, packed):
        assert same_state(fitted(given, None, epochs=1)[0].state_dict(), net.state_dict())


def test_batches_may_be_of_different_types():
    x = np.random.default_rng(0).integers(0, 256, (N, 17), np.uint8)
    _, y = data()
    kinds = ["u1", "f4", "f8", "i2", "u1"]
    mixed = [(a.astype(kind), b) for (a, b), kind in zip(batches(x, y), kinds, strict=True)]
    options = {"scale": 1 / 255, "shuffle": False}
    assert_same(fitted(mixed, None, **options), fitted(x, y, **options))


def test_a_generator_is_enough_for_one_epoch_and_refused_for_two():
    x, y = data()
    expected = fitted(x, y, shuffle=False, epochs=1)
    assert_same(fitted((b for b in batches(x, y)), None, epochs=1), expected)
    net = mlp(SIZES)
    with pytest.raises(TypeError, match="anew for each of the 2 epochs.*generator"):
        fitted((b for b in batches(x, y)), None, net=net)
    with pytest.raises(TypeError, match="validation_data must give its batches anew"):
        fitted(x, y, net=net, validation_data=iter(batches(x, y)))
    assert same_state(net.state_dict(), mlp(SIZES).state_dict())


def test_callbacks_see_every_batch_of_a_loader():
    seen, lengths = [], []

    class Watch:
        def on_fit_begin(self, run):
            lengths.append((run.batches, run.samples))

        def on_progress(self, run):
            seen.append((run.batch, run.seen))
            if run.batch == 3:
                run.stop("enough")

    x, y = data()
    for kind in (list, Loader):
        _, history = fitted(kind(batches(x, y)), None, callbacks=[Watch()])
        assert history.stop_reason == "enough" and len(history) == 1
    assert seen == [(1, 32), (2, 64), (3, 96)] * 2
    assert lengths == [(5, None), (None, None)]


# ---- data sets of samples ----------------------------------------------------------------------


class Samples:
    """A map-style data set."""

    def __init__(self, x, y):
        self._x, self._y = x, y
        self.asked = []

    def __len__(self):
        return len(self._x)

    def __getitem__(self, i):
        self.asked.append(i)
        return self._x[i], int(self._y[i])


def test_samples_are_gathered_in_the_order_of_the_arrays():
    x, y = data()
    samples = Samples(x, y)
    assert_same(fitted(samples, None), fitted(x, y))
    order = np.concatenate([batch_order(3, epoch, N) for epoch in (1, 2)])
    assert samples.asked == order.tolist()
    whole = ff.evaluate(mlp(SIZES), x, y, loss=losses.CrossEntropyLoss())
    assert ff.evaluate(mlp(SIZES), samples, loss=losses.CrossEntropyLoss()) == pytest.approx(whole)


def test_pytorchs_loaders_and_data_sets_train_to_the_bits_of_the_arrays():
    torch = pytest.importorskip("torch")
    utils = torch.utils.data
    x, y = data()
    whole = utils.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    loader = utils.DataLoader(whole, batch_size=32)
    in_order = fitted(x, y, shuffle=False, validation_data=HELD_OUT)
    held_out = utils.TensorDataset(*map(torch.from_numpy, HELD_OUT))
    for validation in (held_out, utils.DataLoader(held_out, batch_size=64)):
        got = fitted(loader, None, validation_data=validation)
        assert_same(got, in_order)
        np.testing.assert_allclose(got[1].val_loss, in_order[1].val_loss, rtol=1e-12)
    part = utils.Subset(whole, range(64))
    assert_same(fitted(whole, None), fitted(x, y))
    assert_same(fitted(part, None), fitted(x[:64], y[:64]))


def test_a_loader_of_a_stream_need_not_know_its_length():
    utils = pytest.importorskip("torch").utils.data
    x, y = data()

    class Rows(utils.IterableDataset):
        def __iter__(self):
            return zip(x, y, strict=True)

    loader = utils.DataLoader(Rows(), batch_size=32)
    in_order = fitted(x, y, shuffle=False, validation_data=HELD_OUT)
    assert_same(fitted(loader, None, validation_data=HELD_OUT), in_order)
    whole = ff.evaluate(mlp(SIZES), x, y, loss=losses.CrossEntropyLoss())
    assert ff.evaluate(mlp(SIZES), loader, loss=losses.CrossEntropyLoss()) == pytest.approx(whole)


def test_batches_of_images_pass_through_flatten():
    x, y = data(n=64)
    images = np.zeros((64, 1, 3, 6), np.float32)
    images.reshape(64, -1)[:, :17] = x
    net = nn.Sequential(nn.Flatten(), nn.Linear(18, 5, rng=np.random.default_rng(0)))
    other = nn.Sequential(nn.Linear(18, 5, rng=np.random.default_rng(0)))
    fitted(batches(images, y), None, net=net)
    fitted(images.reshape(64, -1), y, net=other, shuffle=False)
    assert same_bits(net[1].weight, other[0].weight)
    with pytest.raises(ValueError, match="nn.Flatten"):
        fitted(batches(images, y), None, net=other)


# ---- what is refused ---------------------------------------------------------------------------


X, Y = data()


@pytest.mark.parametrize(
    ("x", "y", "error", "match"),
    [
        (X, None, TypeError, "y must be given with x an array"),
        (Loader(batches(X, Y)), Y, TypeError, "must be left out where x gives batches, as Loader"),
        (Samples(X, Y), Y, TypeError, "must be left out where x gives batches, as Samples"),
        ([], None, ValueError, "x must give at least one batch, got none"),
        (Samples(X[:0], Y[:0]), None, ValueError, "at least one sample"),
        ([X, Y], None, TypeError, r"must give batches \(x, y\).*got ndarray"),
        ([(X, Y, Y, Y)], None, TypeError, "got a tuple of length 4"),
        ([{"image": X, "label": Y}], None, TypeError, r"got a dict with the keys \['image'"),
        ([(X[:4], Y[:3])], None, ValueError, "x and y must have one length, got 4 and 3"),
        ([(X[0], Y[0])], None, ValueError, r"x must have shape \(n, 17\), got \(17,\)"),
        ([(X, Y + 3)], None, ValueError, "between 0 and 4"),
        ([(np.full_like(X, np.nan), Y)], None, ValueError, "x must be finite"),
        (3.0, None, TypeError, "y must be given"),
        (X, np.where(Y == 1, np.nan, Y), TypeError, "row [0-9]+ has none: leave such rows out"),
    ],
)
def test_fit_refuses_what_is_no_data(x, y, error, match):
    net = mlp(SIZES)
    with pytest.raises(error, match=match):
        fitted(x, y, net=net)
    assert same_state(net.state_dict(), mlp(SIZES).state_dict())


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        (X, TypeError, r"validation_data must be \(x, y\)"),
        ((X,), TypeError, r"validation_data must be \(x, y\)"),
        (Loader([]), ValueError, "validation_data must give at least one batch"),
        (Loader([(X[:, :3], Y)]), ValueError, "validation x must have shape"),
    ],
)
def test_validation_data_that_do_not_fit_are_refused_before_training(given, error, match):
    net = mlp(SIZES)
    with pytest.raises(error, match=match):
        fitted(X, Y, net=net, validation_data=given)
    assert same_state(net.state_dict(), mlp(SIZES).state_dict())


def test_a_batch_in_the_middle_that_does_not_fit_ends_training_with_its_fault():
    parts = batches(X, Y)
    parts[2] = (parts[2][0][:, :3], parts[2][1])
    net = mlp(SIZES)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 17\), got \(32, 3\)"):
        fitted(parts, None, net=net)
    assert same_state(net.state_dict(), fitted(parts[:2], None, epochs=1)[0].state_dict())


def test_predict_says_that_a_loader_is_no_array():
    with pytest.raises(TypeError, match="x must be an array, a frame, .* got a Loader"):
        ff.predict(mlp(SIZES), Loader(batches(X, Y)))


@pytest.mark.parametrize("shuffle", ["no", None, 0.5])
def test_a_shuffle_that_is_neither_yes_nor_no_is_refused(shuffle):
    with pytest.raises(TypeError, match="shuffle must be True, False or a function"):
        fitted(X, Y, shuffle=shuffle)
