"""What fastfcn costs in time and memory: asv suites (bench_*.py), and peers in one run (peers/).

``dashboard.py`` runs the suites and shows their results on a page that opens without a network.

asv imports every package below this one, so peers/ has no __init__.py: its modules need libraries
that asv's environments do not have.
"""
