"""fastfcn and its peers, side by side in one run: ``python -m benchmarks.peers --help``."""
