"""The compiled core of fastfcn: kernels over flat, preallocated buffers.

Three levels: a register tile (``simd``), serial range kernels built on it (``matmul``, ``stages``,
``losses``, ``sgd``, ``gather``), and the parallel kernels that hand ranges to threads
(``drivers``). Kernels validate nothing and allocate nothing; :mod:`fastfcn` does both.
"""
