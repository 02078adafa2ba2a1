"""What fastfcn costs in time and memory: asv suites (bench_*.py), and peers in one run (peers/)."""
