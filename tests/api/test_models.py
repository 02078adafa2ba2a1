"""Model files: what is saved is what is read back, bit for bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfcn as ff
from fastfcn import losses, nn, optim, weights
from fastfcn.models import Model

RNG = np.random.default_rng


def network(dtype: Any = np.float32, *middle: Any) -> nn.Sequential:
    layers = [nn.Linear(5, 7, dtype=dtype, rng=RNG(0)), *(middle or [nn.ReLU()])]
    return nn.Sequential(*layers, nn.Linear(7, 3, dtype=dtype, rng=RNG(1)))


def again(tmp_path: Path, net: Any, **about: Any) -> Model:
    ff.save(tmp_path / "m.safetensors", net, **about)
    return ff.load(tmp_path / "m.safetensors")


def activations() -> list[Any]:
    kinds = [getattr(nn, name) for name in nn.__all__]
    found = [k for k in kinds if isinstance(k, type) and issubclass(k, nn.Activation)]
    return [kind() for kind in found if kind is not nn.Activation] + [
        nn.LeakyReLU(0.3),
        nn.ELU(0.25),
    ]


@pytest.mark.parametrize("activation", activations(), ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_activation_reads_back_with_its_parameter(tmp_path, activation, dtype):
    net = network(dtype, activation)
    model = again(tmp_path, net)
    x = RNG(2).normal(size=(9, 5))
    assert repr(model.net) == repr(net)
    assert np.array_equal(ff.predict(model.net, x), ff.predict(net, x))
    assert model.dtype == dtype


def test_normalisation_dropout_and_flattening_read_back(tmp_path):
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4, eps=1e-3, momentum=0.25), nn.ReLU(),
        nn.Dropout(0.3, seed=5), nn.LayerNorm(4, eps=1e-4), nn.Linear(4, 2),
    )  # fmt: skip
    x, y = RNG(0).normal(size=(40, 2, 3)), RNG(1).integers(0, 2, 40)
    sgd = optim.SGD(net.parameters(), lr=0.1)
    ff.fit(net, x, y, loss=losses.CrossEntropyLoss(), optimizer=sgd, epochs=2)
    model = again(tmp_path, net)
    assert repr(model.net) == repr(net)
    assert model.net[4].seed == 5
    assert np.array_equal(model.net[2].running_var, net[2].running_var)
    assert np.array_equal(ff.predict(model.net, x), ff.predict(net, x))
    assert np.array_equal(model.net(x), ff.predict(net, x)), "a loaded network drops nothing"


def test_layers_in_any_order_and_without_bias_read_back(tmp_path):
    net = nn.Sequential(
        nn.Tanh(), nn.Linear(4, 4, bias=False), nn.Linear(4, 2), nn.Softmax(), nn.ELU(2.0)
    )
    model = again(tmp_path, net)
    assert repr(model.net) == repr(net)
    assert model.net.state_dict().keys() == net.state_dict().keys()


ABOUT: dict[str, Any] = {
    "scale": 0.1,
    "shift": -0.3,
    "task": "classification",
    "classes": ("ä", "b", "c d"),
    "feature_names": ("p", "q", "r", "s", "t"),
    "target_name": "kind",
    "image": {"size": [1, 5], "mode": "L"},
}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frames_columns_are_taken_by_name(library):
    frames = pytest.importorskip(library)
    model = Model(network(), **ABOUT)
    x = np.random.default_rng(0).normal(size=(4, 5))
    named = dict(zip("pqrst", x.T, strict=True))
    expected = model.predict_proba(x)
    for order in ("pqrst", "tsrqp", "xtpqyrs"):
        frame = frames.DataFrame({name: named.get(name, x[:, 0]) for name in order})
        assert np.array_equal(model.predict_proba(frame), expected)
    with pytest.raises(ValueError, match=r"columns p, q, r, s, t once, got p, q.*'r' is there 0"):
        model.predict(frames.DataFrame({name: named[name] for name in "pq"}))


def test_a_frame_without_names_is_taken_by_its_columns_places():
    frames = pytest.importorskip("pandas")
    x = np.random.default_rng(0).normal(size=(4, 5))
    model = Model(network(), **ABOUT)
    assert np.array_equal(model.predict_proba(frames.DataFrame(x)), model.predict_proba(x))


def test_everything_said_about_a_network_reads_back(tmp_path):
    model = again(tmp_path, network(), **ABOUT)
    assert {name: getattr(model, name) for name in ABOUT} == ABOUT
    model = again(tmp_path, model)
    assert {name: getattr(model, name) for name in ABOUT} == ABOUT


@pytest.mark.parametrize(
    "loss",
    [
        losses.CrossEntropyLoss([1.0, 2.0, 0.5], label_smoothing=0.1, reduction="sum"),
        losses.CrossEntropyLoss(),
        losses.NLLLoss(ignore_index=2),
        losses.MSELoss("sum", half=True),
        losses.HuberLoss(2.0),
        losses.L1Loss(),
        losses.PoissonNLLLoss("batchmean"),
        losses.BCEWithLogitsLoss(),
    ],
    ids=repr,
)
def test_a_loss_reads_back_with_its_options(tmp_path, loss):
    found = again(tmp_path, network(), loss=loss).loss
    assert type(found) is type(loss)
    for name, value in vars(loss).items():
        assert np.array_equal(getattr(found, name), value)


@pytest.mark.parametrize("classes", [None, [3, 5, -1], ["a", "b", "c"]])
def test_a_classifier_gives_labels_of_the_most_probable_class(tmp_path, classes):
    net = network()
    model = again(tmp_path, net, task="classification", classes=classes, scale=0.5, shift=1.0)
    x = RNG(3).normal(size=(20, 5)).astype(np.float32)
    p = ff.predict_proba(net, x, scale=0.5, shift=1.0)
    assert np.array_equal(model.predict_proba(x), p)
    expected = [i if classes is None else classes[i] for i in p.argmax(axis=1)]
    assert model.predict(x).tolist() == expected


def test_a_regression_gives_values_in_the_targets_units(tmp_path):
    net = nn.Sequential(nn.Linear(5, 1))
    model = again(tmp_path, net, task="regression", target_scale=10.0, target_shift=-2.0)
    x = RNG(3).normal(size=(20, 5)).astype(np.float32)
    assert np.array_equal(model.predict(x), ff.predict(net, x)[:, 0] * 10.0 - 2.0)
    with pytest.raises(ValueError, match="has no probabilities"):
        model.predict_proba(x)


def test_each_feature_may_have_its_own_scale_and_shift(tmp_path):
    net, scale, shift = network(np.float64), np.arange(1.0, 6), np.arange(5.0)
    model = again(tmp_path, net, scale=scale, shift=shift)
    x = RNG(3).normal(size=(20, 5))
    assert np.array_equal(model.predict(x), ff.predict(net, x * scale + shift))


def test_a_file_of_version_1_still_loads(tmp_path):
    """Files of before: sizes, one activation, and nothing about classes."""
    net = network(np.float32, nn.LeakyReLU())
    metadata = {
        "format": "fastfcn", "fastfcn_version": "0.1.0", "layers": "5 7 3", "scale": "0.5",
        "activation": "leaky_relu", "dtype": "float32", "shift": "0.0",
    }  # fmt: skip
    weights.save_weights(tmp_path / "model.safetensors", net.state_dict(), metadata)
    model = ff.load(tmp_path)
    x = np.ones((2, 5))
    assert repr(model.net) == repr(net)
    assert np.array_equal(model.predict_proba(x), ff.predict_proba(net, x, scale=0.5))
    assert (model.task, model.classes) == ("classification", (0, 1, 2))


def test_a_file_that_was_there_is_replaced_whole(tmp_path):
    for seed in (0, 1):
        net = nn.Sequential(nn.Linear(5, 3, rng=RNG(seed)))
        assert np.array_equal(again(tmp_path, net).net[0].weight, net[0].weight)
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.add_layers([nn.Linear(2, 2)])

    def forward(self, x: Any) -> Any:
        return x


class Doubled(nn.ReLU):
    pass


@pytest.mark.parametrize(
    ("net", "about", "message"),
    [
        (Own(), {}, r"net must be a fastfcn\.nn\.Sequential, got .*net\.layers"),
        (nn.Linear(5, 3), {}, r"net must be a fastfcn\.nn\.Sequential"),
        (nn.Sequential(nn.Linear(2, 2), Doubled()), {}, r"layers must be of fastfcn\.nn to be"),
        (network(), {"classes": ["a", "b"]}, "as many as the network's outputs, 3, got 2"),
        (network(), {"classes": ["a", "a", "b"]}, "classes must be distinct"),
        (network(), {"classes": ["a", 1, "b"]}, "all text or all integers"),
        (network(), {"feature_names": ["a"]}, "must be the 5 of the network's input, got 1"),
        (network(), {"task": "ranking"}, "task must be one of"),
        (network(), {"scale": [1.0, 2.0]}, r"scale must be a number, or one for each of the 5"),
        (network(), {"shift": np.nan}, "shift must be finite"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_nothing_written(tmp_path, net, about, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ff.save(tmp_path / "m.safetensors", net, **about)
    assert not list(tmp_path.iterdir())


def test_files_of_others_are_refused_by_name(tmp_path):
    file = tmp_path / "other.safetensors"
    weights.save_weights(file, {"w": np.zeros(3)}, {})
    with pytest.raises(ValueError, match=r"other\.safetensors must have .*load_weights\(path\)"):
        ff.load(file)
    file.write_bytes(b"no safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors must be a safetensors file"):
        ff.load(file)
    with pytest.raises(FileNotFoundError, match="and there is none"):
        ff.load(tmp_path)


def test_a_file_names_no_class_beyond_layers_and_losses(tmp_path):
    ff.save(tmp_path / "m.safetensors", network())
    tensors, metadata = weights.read(tmp_path / "m.safetensors")
    metadata["layers"] = json.dumps([{"type": "init"}])
    weights.save_weights(tmp_path / "m.safetensors", tensors, metadata)
    with pytest.raises(ValueError, match="init must be a Layer"):
        ff.load(tmp_path / "m.safetensors")


def test_an_estimator_is_told_where_its_network_is(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.integers(0, 2, 60)
    classifier = ff.FCNClassifier(solver="lbfgs", hidden_layer_sizes=(), alpha=1.0).fit(x, y)
    with pytest.raises(TypeError, match="got FCNClassifier; .* its network_"):
        ff.save(tmp_path / "c.safetensors", classifier)
    ff.save(tmp_path / "c.safetensors", classifier.network_)


def test_weights_of_a_type_that_numpy_has_not_say_how_to_convert_them(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(3, dtype=torch.bfloat16)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"w\.safetensors must hold types.*bfloat16.*\.float\(\)"):
        ff.load_weights(tmp_path / "w.safetensors")


def test_values_that_overflow_are_refused_and_warn_of_nothing(recwarn):
    model = Model(network(), scale=np.full(network()[0].in_features, 1e10), shift=0.0)
    x = np.full((1, model.n_features), 1e300)
    with pytest.raises(ValueError, match="x must be finite"):
        model.predict(x)
    assert not recwarn.list
