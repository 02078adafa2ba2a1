"""The compiled core of fastfcn: kernels over flat, preallocated buffers.

Three levels: a register tile (``simd``, ``tile``), serial pieces built on it (``matmul``,
``stages``, ``losses``, ``optimisers``, ``gather``), and range kernels (``passes``, ``training``)
with what hands them to threads (``drivers``). All read what they work on from a frame (``table``).
Kernels validate nothing and allocate nothing; :mod:`fastfcn` does both.
"""
