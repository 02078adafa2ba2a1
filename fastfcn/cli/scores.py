"""How well a model does on samples: what ``train`` and ``evaluate`` tell."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastfcn.cli.data import Samples
    from fastfcn.models import Model


def scores(model: "Model", samples: "Samples", n_threads: int | None = None) -> dict[str, Any]:
    """Measure a model.

    Parameters
    ----------
    model : Model
        With a loss and a task.
    samples : Samples
        Rows as files have them, targets as the loss takes them.
    n_threads : int, optional
        As in :func:`fastfcn.evaluate`.

    Returns
    -------
    dict
        ``samples`` and ``loss``; for classification ``accuracy``; for regression ``r2``,
        ``mean_absolute_error`` and ``root_mean_squared_error`` in the target's units.
    """
    import numpy as np

    from fastfcn.training import evaluate

    assert model.loss is not None
    x, scale, shift = model.prepared(samples.x)
    result = evaluate(
        model.net, x, samples.y, loss=model.loss, scale=scale, shift=shift, n_threads=n_threads
    )
    found: dict[str, Any] = {"samples": len(samples.y), "loss": result.loss}
    if model.task != "regression":
        return found | {"accuracy": result.accuracy}
    true = samples.y * model.target_scale + model.target_shift
    error = model.predict(samples.x, n_threads).astype(np.float64) - true
    spread = float(((true - true.mean()) ** 2).mean())
    squared = float((error**2).mean())
    return found | {
        "r2": 1.0 - squared / spread if spread else float("nan"),
        "mean_absolute_error": float(abs(error).mean()),
        "root_mean_squared_error": float(np.sqrt(squared)),
    }


def told(found: Mapping[str, Any]) -> str:
    """Return the main score and the loss as a line."""
    name, text = ("R²", "r2") if "r2" in found else ("accuracy", "accuracy")
    return f"{name} {found[text]:.4f}  loss {found['loss']:.4f}"


def by_class(true: Any, predicted: Any, classes: Any) -> list[dict[str, Any]]:
    """Return for each class how many samples it has, and its precision, recall and F1.

    Parameters
    ----------
    true, predicted : ndarray of int (n,)
        Numbers of classes.
    classes : sequence
        Their labels.
    """
    import numpy as np

    n = len(classes)
    hits = np.bincount(true[true == predicted], minlength=n)
    samples, said = np.bincount(true, minlength=n), np.bincount(predicted, minlength=n)
    return [
        {
            "class": label,
            "samples": int(samples[i]),
            "precision": hits[i] / said[i] if said[i] else 0.0,
            "recall": hits[i] / samples[i] if samples[i] else 0.0,
            "f1": 2 * hits[i] / (said[i] + samples[i]) if said[i] + samples[i] else 0.0,
        }
        for i, label in enumerate(classes)
    ]
