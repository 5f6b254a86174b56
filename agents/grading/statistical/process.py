"""A Gaussian process over what a fixed estimate leaves unexplained on graded exemplars.

Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006): prediction eq. 2.25-2.26,
leave-one-out eq. 5.12. With few exemplars it stays near the fixed estimate, with many it follows
them, and its variance says how far an answer is from anything a human graded.
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

MIN_EXEMPLARS: Final = 3
_OFFSET: Final = 0.03
_LEAST_DEVIATION: Final = 0.06


class Posterior(NamedTuple):
    """A residual to add to the fixed estimate, and the standard deviation of the sum's error."""

    mean: float
    deviation: float


class Shape(NamedTuple):
    """Weights of likeness and features, length scale of the likeness (None: linear), noise."""

    likeness: float
    features: float
    length: float | None
    noise: float


@dataclass(frozen=True, slots=True)
class ResidualProcess:
    """Fitted to n exemplars; `scales` are the length scales of the features."""

    shape: Shape
    scales: Matrix
    features: Matrix
    inverse: Matrix
    weights: Matrix
    loo_error: float
    loo_variance: float

    @classmethod
    def fit(
        cls,
        likeness: Matrix,
        features: Matrix,
        scales: Matrix,
        residuals: Matrix,
        lengths: tuple[float | None, ...],
    ) -> "ResidualProcess":
        """The shape with the least leave-one-out error.

        `likeness` (n, n) in 0..1, `features` (n, f), `residuals` (n,), n ≥ 1.
        """
        best: ResidualProcess | None = None
        for shape in _grid(lengths):
            kernel = _kernel(shape, likeness, _distances(features, features, scales))
            inverse: Matrix = np.asarray(
                np.linalg.inv(kernel + shape.noise * np.eye(len(residuals))), np.float64
            )
            weights = inverse @ residuals
            variance = 1.0 / np.diag(inverse)
            error = float(np.mean((weights * variance) ** 2))
            if best is None or error < best.loo_error:
                best = cls(
                    shape,
                    scales,
                    features,
                    inverse,
                    weights,
                    error,
                    float(np.mean(variance)),
                )
        if best is None:
            raise ValueError("no shape to fit")
        return best

    def predict(self, likeness: Matrix, features: Matrix, prior_deviation: float) -> Posterior:
        """For one answer: `likeness` (n,) to the exemplars, `features` (f,).

        The variance is the leave-one-out error scaled by how far the answer is from the
        exemplars, blended with that of `prior_deviation` by n / (n + 5).
        """
        distances = _distances(features[None, :], self.features, self.scales)
        row = _kernel(self.shape, likeness[None, :], distances)[0]
        own = self.shape.likeness + self.shape.features + _OFFSET
        variance = max(0.0, own - float(row @ self.inverse @ row)) + self.shape.noise
        scaled = self.loo_error * variance / self.loo_variance
        trust = len(self.weights) / (len(self.weights) + 5)
        blended = trust * scaled + (1 - trust) * prior_deviation**2
        return Posterior(float(row @ self.weights), max(_LEAST_DEVIATION, math.sqrt(blended)))


def _grid(lengths: tuple[float | None, ...]) -> list[Shape]:
    combinations = product((0.03, 0.1, 0.3), (0.05, 0.2), lengths, (0.03, 0.08))
    return [Shape(*combination) for combination in combinations]


def _kernel(shape: Shape, likeness: Matrix, distances: Matrix) -> Matrix:
    near = likeness if shape.length is None else np.exp(-(1 - likeness) / shape.length)
    kernel: Matrix = shape.likeness * near + shape.features * np.exp(-distances / 2) + _OFFSET
    return kernel


def _distances(first: Matrix, second: Matrix, scales: Matrix) -> Matrix:
    """Mean squared scaled difference, shape (len(first), len(second))."""
    one, other = first / scales, second / scales
    squared: Matrix = (
        (one**2).sum(1)[:, None] + (other**2).sum(1)[None, :] - 2 * one @ other.T
    ) / first.shape[1]
    return np.maximum(squared, 0)
