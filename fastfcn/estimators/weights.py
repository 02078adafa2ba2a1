"""``coefs_`` and ``intercepts_``: a network's weights as scikit-learn's lists."""

from collections.abc import Iterable
from typing import Any, SupportsIndex

from fastfcn.buffers import Array


class Weights(list[Array]):
    """The arrays themselves, not copies: ``coefs_[0][...] = w`` and ``coefs_[0] = w`` both write.

    Parameters
    ----------
    views : iterable of ndarray
        Views of a network's parameters.
    """

    def __init__(self, views: Iterable[Array]) -> None:
        super().__init__(views)

    def __setitem__(self, index: SupportsIndex | slice, values: Any) -> None:
        """Write into the network."""
        if isinstance(index, slice):
            values = list(values)
            if len(values) != len(self[index]):
                raise ValueError(
                    f"coefs_ and intercepts_ must have {len(self[index])} arrays, one a layer, "
                    f"got {len(values)}"
                )
            for own, given in zip(self[index], values, strict=True):
                own[...] = given
        else:
            self[index][...] = values

    def __reduce__(self) -> tuple[Any, ...]:
        return list, ([view.copy() for view in self],)
