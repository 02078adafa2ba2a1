"""Model files: a network with what is needed to use it, saved and read back.

A safetensors file: the parameters by their names in ``state_dict()``, and as metadata the layers
with their options, what the input goes through, and what the outputs mean.
"""

import inspect
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fastfcn import losses, nn, weights
from fastfcn.buffers import Array
from fastfcn.frame import is_sparse
from fastfcn.intake import by_name
from fastfcn.nn.containers import Sequential
from fastfcn.prediction import predict, predict_proba
from fastfcn.validation import as_matrix, as_real
from fastfcn.version import __version__

TASKS = ("classification", "regression")

_FORMAT = "2"
"""Version of the metadata; files of before it named sizes and one activation."""

_HOW_MADE = ("init", "bias_init", "dtype", "rng")
"""Arguments of layers that say how their first values come about: the file holds the values."""
_KEPT_AS = {"features": "in_features"}
"""Arguments that a layer keeps under another name."""


@dataclass(frozen=True, eq=False)
class Model:
    """A network, what its input goes through, and what its outputs mean.

    Attributes
    ----------
    net : Sequential
        The network.
    scale, shift : float or ndarray (features,)
        The network sees x·scale + shift; arrays have an entry a feature.
    task : {"classification", "regression"}, optional
        What the outputs are: scores of classes, or values. None where nobody said.
    classes : tuple of str or int, optional
        The label of each output.
    feature_names : tuple of str, optional
        Columns of the input, in order.
    target_name : str, optional
        The column that is predicted.
    target_scale, target_shift : float
        Regression: a prediction is output·target_scale + target_shift; with `PoissonNLLLoss`, of
        e^output.
    loss : Loss, optional
        What the network was trained with.
    image : dict, optional
        Of networks for images: ``{"size": [height, width], "mode": "L"}``, how files are read.
    """

    net: Sequential
    scale: Any = 1.0
    shift: Any = 0.0
    task: Literal["classification", "regression"] | None = None
    classes: tuple[str | int, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None
    target_scale: float = 1.0
    target_shift: float = 0.0
    loss: losses.Loss | None = None
    image: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.net, nn.Module) or type(self.net).forward is not Sequential.forward:
            way = "nn.Sequential(*net.layers) makes one of a Module's layers"
            if hasattr(self.net, "network_"):
                way = "a fitted estimator has one as its network_"
            raise TypeError(
                f"net must be a fastfcn.nn.Sequential, got {type(self.net).__name__}; {way}"
            )
        stages = self.net.plan().stages
        n_in, n_out = stages[0].in_features, stages[-1].out_features
        for name in ("scale", "shift"):
            object.__setattr__(self, name, _affine(getattr(self, name), name, n_in))
        if self.task is not None and self.task not in TASKS:
            raise ValueError(f"task must be one of {TASKS} or None, got {self.task!r}")
        if self.classes is not None:
            object.__setattr__(self, "classes", _labels(self.classes, n_out))
        if self.feature_names is not None:
            names = tuple(str(name) for name in self.feature_names)
            if len(names) != n_in:
                raise ValueError(
                    f"feature_names must be the {n_in} of the network's input, got {len(names)}"
                )
            object.__setattr__(self, "feature_names", names)

    @property
    def n_features(self) -> int:
        """Features of the input."""
        return self.net.plan().stages[0].in_features

    @property
    def dtype(self) -> np.dtype[Any]:
        """The network's precision."""
        return self.net.plan().dtype

    def prepared(self, x: Any) -> tuple[Any, float, float]:
        """Return x, and the scale and shift that :func:`fastfcn.fit` and its kin take with it.

        Where each feature has its own, they are applied here. Of a frame, the columns named in
        ``feature_names`` are taken.
        """
        if self.feature_names is not None:
            x = by_name(x, self.feature_names)
        if isinstance(self.scale, float) and isinstance(self.shift, float):
            return x, self.scale, self.shift
        if is_sparse(x):
            raise TypeError(
                "x must be dense where each feature has its own shift, got a sparse one"
            )
        rows = as_matrix(x, "x", self.n_features)
        with np.errstate(over="ignore"):  # what gets infinite is refused, by its place
            return (rows * self.scale + self.shift).astype(self.dtype), 1.0, 0.0

    def predict(self, x: Any, n_threads: int | None = None) -> Array:
        """Return a label for each row of a classifier's input; of others the outputs.

        Parameters
        ----------
        x : array_like (n, features)
            As :func:`fastfcn.predict` takes it, before ``scale`` and ``shift``. A frame's columns
            are taken by ``feature_names``, where there are such.
        n_threads : int, optional
            As in :func:`fastfcn.predict`.

        Returns
        -------
        ndarray
            Classification: (n,) entries of `classes`. Else (n,) for one output, (n, K) for more.
        """
        if self.task == "classification":
            return self.label(self.predict_proba(x, n_threads))
        rows, scale, shift = self.prepared(x)
        outputs = predict(self.net, rows, scale=scale, shift=shift, n_threads=n_threads)
        if isinstance(self.loss, losses.PoissonNLLLoss):  # whose outputs are logarithms
            outputs = np.exp(outputs)
        values = outputs * self.target_scale + self.target_shift
        return values[:, 0] if values.shape[1] == 1 else values

    def predict_proba(self, x: Any, n_threads: int | None = None) -> Array:
        """Return the probability of each class, (n, K); parameters as :meth:`predict`."""
        if self.task == "regression":
            raise ValueError("a model for regression has no probabilities; use predict")
        rows, scale, shift = self.prepared(x)
        return predict_proba(self.net, rows, scale=scale, shift=shift, n_threads=n_threads)

    def label(self, probabilities: Array) -> Array:
        """Return the most probable class of each row."""
        best = np.asarray(probabilities.argmax(axis=1))
        return best if self.classes is None else np.asarray(self.classes)[best]


def save(path: str | os.PathLike[str], net: Sequential | Model, **about: Any) -> None:
    """Write a network to a file, with what is needed to use it again.

    Parameters
    ----------
    path : path-like
        The file, usually ``NAME.safetensors``; one that is there is replaced.
    net : Sequential or Model
        The network.
    **about
        The other attributes of :class:`Model`: ``scale``, ``shift``, ``task``, ``classes``,
        ``feature_names``, ``target_name``, ``target_scale``, ``target_shift``, ``loss``, ``image``.

    Raises
    ------
    TypeError, ValueError
        For what :class:`Model` refuses, and layers or losses that are not fastfcn's own.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pathlib import Path
    >>> import fastfcn as ff
    >>> from fastfcn import nn
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ELU(0.5), nn.Linear(8, 3))
    >>> file = Path(tempfile.mkdtemp(), "iris.safetensors")
    >>> ff.save(file, net, task="classification", classes=["setosa", "versicolor", "virginica"])
    >>> model = ff.load(file)
    >>> str(model.predict(np.zeros((1, 4)))[0]) in model.classes
    True
    """
    if isinstance(net, Model):
        if about:
            raise TypeError(f"a Model must come alone, got {sorted(about)} beside it")
        model = net
    else:
        model = Model(net, **about)
    tensors, metadata = described(model)
    weights.save_weights(path, tensors, metadata)


def load(path: str | os.PathLike[str]) -> Model:
    """Read a network that :func:`save` or ``fastfcn train`` wrote.

    Parameters
    ----------
    path : path-like
        The file, or the run folder that holds ``model.safetensors``.

    Returns
    -------
    Model
        The network is ``.net``, in evaluation mode.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        For a file that is not fastfcn's, or whose parameters do not fit its metadata.

    Examples
    --------
    >>> model = ff.load("runs/mnist-20260101-120000")  # doctest: +SKIP
    >>> model.predict(images)  # doctest: +SKIP
    """
    file = Path(path)
    if file.is_dir():
        if not (file / "model.safetensors").exists() and (file / "checkpoint.safetensors").exists():
            raise FileNotFoundError(
                f"{file} must hold a model.safetensors, and has a checkpoint only: its run did not "
                f"end; fastfcn train --resume {file} goes on with it"
            )
        file = file / "model.safetensors"
    tensors, metadata = weights.read(file)
    if "layers" not in metadata:
        raise ValueError(
            f"{file} must have the metadata that fastfcn.save writes (layers, dtype, scale, "
            f"shift), got {metadata}: weights alone, as save_weights and ModelCheckpoint write "
            "them; make the network and call net.load_state_dict(fastfcn.load_weights(path))"
        )
    try:
        return rebuilt(tensors, metadata)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{file} must have the metadata that fastfcn writes (layers, dtype, scale, shift), and "
            f"parameters that fit them; got {str(metadata)[:300]} ({error})"
        ) from error


def described(model: Model) -> tuple[dict[str, Array], dict[str, str]]:
    """Return a model as arrays and text, for :mod:`fastfcn.weights`."""
    tensors = model.net.state_dict()
    metadata = {
        "format": "fastfcn",
        "format_version": _FORMAT,
        "fastfcn_version": __version__,
        "layers": json.dumps([_layer(layer) for layer in model.net]),
        "dtype": str(model.dtype),
        # PyTorch's are transposed: said here for whoever reads the file with other tools.
        "weight_shape": "in_features, out_features",
    }
    for name in ("scale", "shift"):
        value = getattr(model, name)
        if isinstance(value, float):
            metadata[name] = repr(value)
        else:
            tensors[f"input.{name}"] = value
    about = {
        "task": model.task,
        "classes": model.classes,
        "feature_names": model.feature_names,
        "target_name": model.target_name,
        "target_scale": model.target_scale,
        "target_shift": model.target_shift,
        "loss": None if model.loss is None else _loss(model.loss),
        "image": model.image,
    }
    metadata["about"] = json.dumps({k: v for k, v in about.items() if v is not None})
    return tensors, metadata


def rebuilt(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> Model:
    """Return the model that :func:`described` took apart."""
    version = metadata.get("format_version")
    if version is None:
        return _rebuilt_version_1(tensors, metadata)
    if version != _FORMAT:
        raise ValueError(f"format_version must be {_FORMAT}, got {version}; use a newer fastfcn")
    dtype = np.dtype(metadata["dtype"])
    net = Sequential(*[_rebuilt_layer(spec, dtype) for spec in json.loads(metadata["layers"])])
    net.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("input.")})
    net.eval()
    about: dict[str, Any] = json.loads(metadata["about"])
    if "loss" in about:
        about["loss"] = _made(losses, about["loss"], losses.Loss)
    for name in ("scale", "shift"):
        stored = tensors.get(f"input.{name}")
        about[name] = float(metadata[name]) if stored is None else stored
    return Model(net, **about)


def _rebuilt_version_1(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> Model:
    """Return a classifier of files that name sizes and the one activation between them."""
    sizes = [int(size) for size in metadata["layers"].split()]
    dtype = np.dtype(metadata["dtype"])
    names = {name.lower(): name for name in nn.__all__}
    activation = getattr(nn, names[metadata["activation"].replace("_", "")])
    layers: list[Any] = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(n_in, n_out, dtype=dtype, rng=_any_values()), activation()]
    net = Sequential(*layers[:-1])
    net.load_state_dict(tensors)
    return Model(
        net, float(metadata["scale"]), float(metadata["shift"]), "classification",
        tuple(range(sizes[-1])), loss=losses.CrossEntropyLoss(),
    )  # fmt: skip


def _layer(layer: nn.Layer) -> dict[str, Any]:
    """Describe a layer by its constructor's arguments, which it keeps under the same names."""
    spec = _arguments(layer, nn, "layers")
    if "bias" in spec:
        spec["bias"] = spec["bias"] is not None
    return spec


def _loss(loss: losses.Loss) -> dict[str, Any]:
    spec = _arguments(loss, losses, "loss")
    if "weight" in spec:
        spec["weight"] = spec["weight"].tolist() or None
    return spec


def _arguments(value: Any, module: Any, name: str) -> dict[str, Any]:
    kind = type(value)
    if getattr(module, kind.__name__, None) is not kind:
        raise TypeError(f"{name} must be of {module.__name__} to be saved, got {value!r}")
    wanted = [key for key in inspect.signature(kind).parameters if key not in _HOW_MADE]
    found = {key: getattr(value, _KEPT_AS.get(key, key)) for key in wanted}
    return {"type": kind.__name__} | found


def _rebuilt_layer(spec: Mapping[str, Any], dtype: np.dtype[Any]) -> nn.Layer:
    takes = inspect.signature(_kind(nn, spec, nn.Layer)).parameters
    made: dict[str, Any] = {"dtype": dtype, "rng": _any_values()}
    given = {**spec, **{key: value for key, value in made.items() if key in takes}}
    layer: nn.Layer = _made(nn, given, nn.Layer)
    return layer


def _made(module: Any, spec: Mapping[str, Any], base: type) -> Any:
    kind = _kind(module, spec, base)
    return kind(**{key: value for key, value in spec.items() if key != "type"})


def _kind(module: Any, spec: Mapping[str, Any], base: type) -> Any:
    """Return the class that a file names, which must be one of ours: files run nothing else."""
    kind = getattr(module, spec["type"])
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ValueError(f"{spec['type']} must be a {base.__name__}")
    return kind


def _any_values() -> np.random.Generator:
    """Return a generator for values that are replaced at once: cheaper than one from the system."""
    return np.random.default_rng(0)


def _affine(value: Any, name: str, features: int) -> float | Array:
    if np.ndim(value) == 0:
        return as_real(value, name)
    array = np.array(value, np.float64)
    if array.shape != (features,):
        raise ValueError(
            f"{name} must be a number, or one for each of the {features} features, "
            f"got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array


def _labels(classes: Sequence[Any], outputs: int) -> tuple[str | int, ...]:
    labels = tuple(
        label.item() if isinstance(label, np.generic) else label for label in list(classes)
    )
    if not (
        all(isinstance(label, str) for label in labels)
        or all(isinstance(label, int) and not isinstance(label, bool) for label in labels)
    ):
        raise TypeError(f"classes must be all text or all integers, got {labels[:5]}")
    if len(set(labels)) < len(labels):
        raise ValueError("classes must be distinct")
    wanted = (1, 2) if outputs == 1 else (outputs,)
    if len(labels) not in wanted:
        raise ValueError(
            f"classes must be as many as the network's outputs, {outputs}, got {len(labels)}"
        )
    return labels
