"""The compiled core of fastfcn: kernels over flat, preallocated buffers.

Three levels: a register tile (``simd``), serial pieces built on it (``matmul``, ``stages``,
``losses``, ``sgd``, ``gather``), and range kernels with the parallel kernels that hand them to
threads (``drivers``). All read what they work on from a frame (``table``). Kernels validate nothing
and allocate nothing; :mod:`fastfcn` does both.
"""
