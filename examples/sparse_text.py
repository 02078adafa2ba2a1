"""Text as sparse counts: a CSR matrix is trained on as it is, never made dense.

    python examples/sparse_text.py

The documents are made up: words of a vocabulary, some of which are three times as frequent in one
topic. ``HashingVectorizer`` turns them into rows of 16,384 columns, of which some forty are not
zero; as a dense array they would take two hundred times the memory.

Output::

    4000 documents: 1.4 MB, 262 MB if dense
    epoch 1  test accuracy 0.837
    epoch 2  test accuracy 0.931
    epoch 3  test accuracy 0.932
    epoch 4  test accuracy 0.935
    epoch 5  test accuracy 0.933
    topics of two new texts: [0 3]
"""

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

import fastfcn as ff
from fastfcn import losses, nn, optim

TOPICS, WORDS, LENGTH = 4, 5000, 60


def documents(n: int, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Make up texts of some topics, and the topics."""
    vocabulary = np.array([f"word{i}" for i in range(WORDS)])
    frequency = 1.0 / np.arange(1, WORDS + 1)  # Zipf's law
    topics = rng.integers(0, TOPICS, n)
    texts = []
    for topic in topics:
        # A topic's own words: every 20th of the vocabulary, three times as frequent there.
        p = np.where(np.arange(WORDS) % 20 == topic, 3 * frequency, frequency)
        texts.append(" ".join(rng.choice(vocabulary, LENGTH, p=p / p.sum())))
    return texts, topics


def main() -> None:
    """Vectorise, train and evaluate."""
    rng = np.random.default_rng(0)
    texts, topics = documents(4000, rng)
    vectorizer = HashingVectorizer(n_features=2**14, alternate_sign=False, dtype=np.float32)
    x = vectorizer.transform(texts)  # scipy.sparse, CSR
    stored = x.data.nbytes + x.indices.nbytes + x.indptr.nbytes
    dense = x.shape[0] * x.shape[1] * x.dtype.itemsize
    print(f"{x.shape[0]} documents: {stored / 1e6:.1f} MB, {dense / 1e6:.0f} MB if dense")

    net = nn.Sequential(
        nn.Linear(x.shape[1], 32, rng=rng), nn.ReLU(), nn.Linear(32, TOPICS, rng=rng)
    )
    history = ff.fit(
        net,
        x[:3000],
        topics[:3000],
        loss=losses.CrossEntropyLoss(label_smoothing=0.1),
        optimizer=optim.Adam(net.parameters(), lr=0.003),
        batch_size=64,
        epochs=5,
        validation_data=(x[3000:], topics[3000:]),
        seed=0,
    )
    for epoch, value in zip(history.epoch, history.val_accuracy, strict=True):
        print(f"epoch {epoch}  test accuracy {value:.3f}")

    new = vectorizer.transform(["word0 word20 word40 word1 word60", "word3 word23 word2 word43"])
    print("topics of two new texts:", ff.predict(net, new).argmax(axis=1))


if __name__ == "__main__":
    main()
