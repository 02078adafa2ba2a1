"""What fastfcn costs in time and memory: asv suites (bench_*.py), and peers in one run (peers/).

asv imports every package below this one, so peers/ has no __init__.py: its modules need libraries
that asv's environments do not have.
"""
