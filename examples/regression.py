"""Regression with outliers: Huber loss, validation data, early stopping with the best weights.

    python examples/regression.py

A twentieth of the training targets is wrong by far. The squared error follows them, the Huber
loss, whose gradient is bounded, hardly does.

Output::

    MSELoss    R² 0.609  mean error 2.24  best epoch 9 of 19
    HuberLoss  R² 0.946  mean error 0.90  best epoch 26 of 36
    stopped because val_loss has not improved for 10 epochs since epoch 26
"""

import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.preprocessing import StandardScaler

import fastfcn as ff
from fastfcn import callbacks, losses, nn, optim


def main() -> None:
    """Train with two losses and compare both on clean targets."""
    rng = np.random.default_rng(0)
    x, y = make_friedman1(n_samples=4000, noise=1.0, random_state=0)
    wrong = rng.random(3000) < 0.05
    y[:3000][wrong] += rng.normal(0, 100, wrong.sum())

    # Networks learn best from inputs and targets of mean 0 and variance 1.
    x = StandardScaler().fit_transform(x)
    centre, spread = np.median(y[:3000]), np.subtract(*np.percentile(y[:3000], [75, 25])) / 1.35
    y = (y - centre) / spread
    x_val, y_val, x_test, y_test = x[2400:3000], y[2400:3000], x[3000:], y[3000:]

    for loss in (losses.MSELoss(), losses.HuberLoss(delta=1.0)):
        weights = np.random.default_rng(0)
        net = nn.Sequential(
            nn.Linear(10, 64, rng=weights),
            nn.SiLU(),
            nn.Linear(64, 64, rng=weights),
            nn.SiLU(),
            nn.Linear(64, 1, rng=weights),
        )
        stopping = callbacks.EarlyStopping(patience=10)
        history = ff.fit(
            net,
            x[:2400],
            y[:2400],
            loss=loss,
            optimizer=optim.AdamW(net.parameters(), lr=1e-3),
            batch_size=64,
            epochs=200,
            validation_data=(x_val, y_val),
            callbacks=[stopping],
            seed=0,
        )
        prediction = ff.predict(net, x_test).ravel()
        error = mean_absolute_error(y_test, prediction) * spread
        print(
            f"{type(loss).__name__:9}  R² {r2_score(y_test, prediction):.3f}  "
            f"mean error {error:.2f}  best epoch {stopping.best_epoch} of {len(history)}"
        )
    print(f"stopped because {history.stop_reason}")


if __name__ == "__main__":
    main()
