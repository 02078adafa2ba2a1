"""One MNIST epoch of fastfcn, PyTorch and NumPy, measured side by side.

    FASTFCN_DATA=path/to/data python benchmarks/peers/epoch.py

Every peer trains the same network (784-256-128-10, ReLU) at the same settings (cross-entropy, SGD
with lr 0.02 and momentum 0.9, batches of 128, float32) from the same initial weights, each run in a
process of its own, so that no peer's threads or memory disturb another's. Runs are interleaved in
rounds that start with another peer each. A run trains one epoch untimed, in which code is compiled
and memory is touched, then ``--epochs`` timed ones; the test accuracy is that after the last. Each
framework draws its own batch order. The result is a Markdown table. A peer that is not installed is
reported as absent.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LEARNING_RATE, MOMENTUM, BATCH = 0.02, 0.9, 128


def initial_weights() -> list[tuple[Any, Any]]:
    """Return (W, b) of each layer, U(±1/√fan_in), W as (in, out)."""
    import numpy as np

    from benchmarks.inputs import SHAPES

    rng = np.random.default_rng(0)
    return [
        (
            rng.uniform(-(i**-0.5), i**-0.5, (i, o)).astype(np.float32),
            rng.uniform(-(i**-0.5), i**-0.5, o).astype(np.float32),
        )
        for i, o in SHAPES
    ]


def _fastfcn(dtype: str, epochs: int, threads: int) -> tuple[list[float], float]:
    import numpy as np

    import fastfcn as ff
    from benchmarks.inputs import fit, load, network
    from fastfcn import losses

    x, y, x_test, y_test = load()
    scale = 1 / 255
    if dtype == "float32":
        x, x_test, scale = x / np.float32(255), x_test / np.float32(255), 1.0
    net = network()
    linear = [layer for layer in net if hasattr(layer, "weight")]
    for layer, (weight, bias) in zip(linear, initial_weights(), strict=True):
        layer.weight, layer.bias = weight, bias
    seconds: list[float] = []
    start = time.perf_counter()

    def tick(epoch: int, history: Any) -> None:
        nonlocal start
        now = time.perf_counter()
        seconds.append(now - start)
        start = now

    fit(net, x, y, scale=scale, epochs=epochs + 1, n_threads=threads, callback=tick)
    result = ff.evaluate(net, x_test, y_test, loss=losses.CrossEntropyLoss(), scale=scale)
    return seconds[1:], float(result.accuracy)


def fastfcn_uint8(epochs: int, threads: int) -> tuple[list[float], float]:
    """Train by ``fit`` on images that stay uint8."""
    return _fastfcn("uint8", epochs, threads)


def fastfcn_float32(epochs: int, threads: int) -> tuple[list[float], float]:
    """Train by ``fit`` on float32 images, as the other peers do."""
    return _fastfcn("float32", epochs, threads)


def timed(epoch: Callable[[], None], epochs: int) -> list[float]:
    """Return the seconds of each epoch but the first."""
    seconds = []
    for _ in range(epochs + 1):
        start = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def pytorch(epochs: int, threads: int) -> tuple[list[float], float]:
    """Train the usual eager loop."""
    import torch

    from benchmarks.inputs import load

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x_train, y_train, x_test, y_test = load()
    x, y = torch.from_numpy(x_train).float() / 255, torch.from_numpy(y_train)
    layers: list[Any] = []
    for weight, bias in initial_weights():
        linear = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T.copy()))
            linear.bias.copy_(torch.from_numpy(bias))
        layers += [linear, torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def epoch() -> None:
        order = torch.randperm(len(x))
        for begin in range(0, len(x), BATCH):
            rows = order[begin : begin + BATCH]
            optimizer.zero_grad()
            criterion(net(x[rows]), y[rows]).backward()
            optimizer.step()

    seconds = timed(epoch, epochs)
    with torch.inference_mode():
        found = net(torch.from_numpy(x_test).float() / 255).argmax(1)
    return seconds, float((found == torch.from_numpy(y_test)).float().mean())


def numpy(epochs: int, threads: int) -> tuple[list[float], float]:
    """Train the references' loop in plain NumPy."""
    import numpy as np

    from benchmarks.inputs import load

    x, y, x_test, y_test = load()
    x, x_test = x / np.float32(255), x_test / np.float32(255)
    rng = np.random.default_rng(0)
    weights = initial_weights()
    velocities = [(np.zeros_like(W), np.zeros_like(b)) for W, b in weights]
    last = len(weights) - 1
    eta, gamma = np.float32(LEARNING_RATE), np.float32(MOMENTUM)

    def forward(a: Any) -> list[Any]:
        outputs = [a]
        for i, (W, b) in enumerate(weights):
            z = outputs[-1] @ W
            z += b
            outputs.append(z if i == last else np.maximum(z, 0, out=z))
        return outputs

    def epoch() -> None:
        order = rng.permutation(len(x))
        for begin in range(0, len(x), BATCH):
            rows = order[begin : begin + BATCH]
            a, labels = forward(x[rows]), y[rows]
            delta = np.exp(a[-1] - a[-1].max(axis=1, keepdims=True))
            delta /= delta.sum(axis=1, keepdims=True)
            delta[np.arange(len(rows)), labels] -= 1
            delta /= np.float32(len(rows))
            for i in range(last, -1, -1):
                (W, b), (vW, vb) = weights[i], velocities[i]
                dW, db = a[i].T @ delta, delta.sum(axis=0)
                if i:
                    delta = delta @ W.T
                    delta *= a[i] > 0
                for theta, v, g in ((W, vW, dW), (b, vb, db)):
                    v *= gamma
                    g *= eta
                    v -= g
                    theta += v

    seconds = timed(epoch, epochs)
    return seconds, float(np.mean(forward(x_test)[-1].argmax(axis=1) == y_test))


PEERS: dict[str, tuple[str, Callable[[int, int], tuple[list[float], float]]]] = {
    "fastfcn-uint8": ("fastfcn, uint8 input", fastfcn_uint8),
    "fastfcn": ("fastfcn, float32 input", fastfcn_float32),
    "pytorch": ("PyTorch, eager", pytorch),
    "numpy": ("NumPy loop", numpy),
}


def environment(threads: int | None) -> dict[str, str]:
    """Return the environment of a run: settings that would slow a peer's library are taken out."""
    unset = ("OPENBLAS_", "OMP_", "MKL_", "NUMBA_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    if threads is not None:
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            kept[name] = str(threads)
    # The checkout's benchmarks, and its fastfcn unless one is installed.
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return kept


def run(peer: str, epochs: int, threads: int | None) -> dict[str, Any]:
    """Run one peer in a process of its own."""
    command = [sys.executable, __file__, "--peer", peer, "--epochs", str(epochs)]
    if threads is not None:
        command += ["--threads", str(threads)]
    done = subprocess.run(
        command, env=environment(threads), capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"error": reason, "absent": reason.startswith("ModuleNotFoundError")}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Name the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions() -> Iterator[str]:
    """Name the versions of what was measured."""
    for package in ("fastfcn", "numba", "numpy", "torch"):
        try:
            yield f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            yield f"{package} absent"


def show(results: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace) -> None:
    """Print the table."""
    from benchmarks.inputs import SOURCE

    data = "MNIST" if SOURCE == "mnist" else "SYNTHETIC DATA of MNIST's shape"
    print(f"\n| one epoch of {data} | median | min | max | images/s | test accuracy |")
    print("|---|---:|---:|---:|---:|---:|")
    for peer, runs in results.items():
        good = [run for run in runs if "error" not in run]
        if not good:
            reason = "absent" if runs[0]["absent"] else f"failed: {runs[0]['error']}"
            print(f"| {PEERS[peer][0]} | {reason} | | | | |")
            continue
        seconds = [value for run in good for value in run["seconds"]]
        median = statistics.median(seconds)
        accuracy = statistics.median(run["accuracy"] for run in good)
        print(
            f"| {PEERS[peer][0]} | {median:.3f} s | {min(seconds):.3f} s | {max(seconds):.3f} s "
            f"| {60_000 / median:,.0f} | {accuracy:.4f} |"
        )
    print(
        f"\n{processor()}, {arguments.threads or cores()} threads; Python "
        f"{platform.python_version()}, {', '.join(versions())}; {platform.system()}; "
        f"{datetime.date.today().isoformat()}. {arguments.rounds} interleaved rounds of "
        f"{arguments.epochs} timed epochs; accuracy after {arguments.epochs + 1} epochs. "
        "784-256-128-10, batches of 128, momentum SGD."
    )


def main() -> None:
    """Run the rounds, or one peer."""
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="processes of each peer")
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs of a process")
    parser.add_argument("--threads", type=int, help="threads of each peer (default: all cores)")
    parser.add_argument("--peer", choices=PEERS, help="run one peer here and print JSON")
    arguments = parser.parse_args()
    if arguments.peer:
        _, train = PEERS[arguments.peer]
        seconds, accuracy = train(arguments.epochs, arguments.threads or cores())
        print(json.dumps({"seconds": seconds, "accuracy": accuracy}))
        return
    results: dict[str, list[dict[str, Any]]] = {peer: [] for peer in PEERS}
    names = list(PEERS)
    for number in range(arguments.rounds):
        first = number % len(names)
        for peer in names[first:] + names[:first]:
            runs = results[peer]
            if runs and runs[0].get("absent"):
                continue
            runs.append(run(peer, arguments.epochs, arguments.threads))
            print(f"round {number + 1}: {peer}: {runs[-1]}", file=sys.stderr)
    show(results, arguments)


if __name__ == "__main__":
    main()
