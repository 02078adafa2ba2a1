"""Data sets as users pass them, checked and described to the kernels."""

from typing import Any, NamedTuple

from fastfcn.frame import Source, is_sparse, source
from fastfcn.intake import as_array, columns_of
from fastfcn.losses import Loss, Targets
from fastfcn.plan import Plan
from fastfcn.validation import as_csr, as_matrix, as_real, as_weights, check_finite
from fastfcn_kernels.table import LINEAR


class Data(NamedTuple):
    """A checked data set."""

    source: Source
    targets: Targets
    accuracy: bool

    def part(self, first: int, stop: int) -> "Data":
        """Return rows first:stop, as views."""
        targets = self.targets.take(slice(first, stop))
        return Data(self.source.part(first, stop), targets, self.accuracy)

    def check_counts(self, name: str) -> None:
        """Raise ValueError unless a row at least counts; the name is that of their weights."""
        if self.targets.weights.size and not self.targets.weights.any():
            raise ValueError(f"{name} must be above 0 for at least one row, got zeros only")


def checked_source(
    plan: Plan, x: Any, scale: float, shift: float, finite: bool, name: str
) -> Source:
    """Describe the input of a network; ``finite`` says whether to refuse NaN and infinity."""
    scale, shift = as_real(scale, "scale"), as_real(shift, "shift")
    features = plan.stages[0].in_features
    if not is_sparse(x):
        array = as_matrix(x, name, features, plan.flattens)
        if finite:
            check_finite(array, name, plan.dtype, columns_of(x))
        return source(array, plan.dtype, scale, shift)
    if plan.stages[0].kind != LINEAR:
        raise ValueError(f"the first layer must be Linear for sparse {name}; pass {name}.toarray()")
    if shift != 0.0:
        raise ValueError(f"shift must be 0 for sparse {name}, got {shift}: it would fill the zeros")
    rows = as_csr(x, name, features)
    if finite:
        check_finite(rows.data, f"{name}.data", plan.dtype)
    return source(rows, plan.dtype, scale, shift)


class Intake(NamedTuple):
    """How samples reach a network and its loss, and what they are checked for.

    Attributes
    ----------
    plan : Plan
        The network.
    loss : Loss
        Takes the targets.
    scale, shift : float
        The network sees x·scale + shift.
    finite : bool
        Whether to refuse NaN and infinity in x.
    prefix : str
        What messages put before the names x, y and sample_weight.
    """

    plan: Plan
    loss: Loss
    scale: float
    shift: float
    finite: bool
    prefix: str = ""

    def batch(self, x: Any, y: Any, sample_weight: Any = None) -> Data:
        """Describe input, targets and weights of some samples."""
        plan, prefix = self.plan, self.prefix
        described = checked_source(plan, x, self.scale, self.shift, self.finite, f"{prefix}x")
        n = described.rows
        target = as_array(y, f"{prefix}y")
        if target.ndim == 0 or len(target) != n:
            raise ValueError(
                f"{prefix}x and {prefix}y must have one length, got {n} and "
                f"{len(target) if target.ndim else 'a scalar'}"
            )
        targets = self.loss.targets(target, n, plan.stages[-1].out_features, plan.dtype)
        if sample_weight is not None:
            name = f"{prefix}sample_weight"
            weights = as_weights(as_array(sample_weight, name), n, name)
            targets = targets._replace(weights=weights)
        return Data(described, targets, self.loss.measures_accuracy(targets))

    def whole(self, x: Any, y: Any, sample_weight: Any = None) -> Data:
        """Describe all the samples there are: one at least must count."""
        data = self.batch(x, y, sample_weight)
        data.check_counts(f"{self.prefix}sample_weight")
        return data


def split_off(data: Data, share: float) -> tuple[Data, Data]:
    """Return the first rows, and the last: a share of all above 0, rounded up.

    Raises
    ------
    ValueError
        Where no row is left of the first, or none of either counts.
    """
    n = data.source.rows
    rest = min(int(n * (1.0 - share) + 1e-9), n - 1)  # 0.3 of 90 rows are 27 and not 28
    if not rest:
        raise ValueError(
            f"validation_split must leave at least one of the {n} rows to train on, got {share}"
        )
    first, last = data.part(0, rest), data.part(rest, n)
    first.check_counts("sample_weight of the rows to train on")
    last.check_counts("sample_weight of the rows that validation_split holds back")
    return first, last
