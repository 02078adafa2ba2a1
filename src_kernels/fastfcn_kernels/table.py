"""The layer table: what a compiled kernel knows of a network.

A network is a run of *stages*. A stage is a linear map with the activation that follows it, or an
activation alone. One int64 row describes a stage; its columns are named here. Offsets and leading
dimensions count elements; -1 says "not there".
"""

LINEAR = 0
"""1 where the stage has a linear map."""
IN = 1
"""Features in."""
OUT = 2
"""Features out."""
LD_IN = 3
"""Row stride of the input and of its delta."""
LD = 4
"""Row stride of z, a, delta and of the weight."""
WEIGHT = 5
"""Weight (IN, LD) in the parameters and in the gradients."""
BIAS = 6
"""Bias (LD,) in the parameters and in the gradients."""
WEIGHT_VELOCITY = 7
"""Weight's velocity in the optimiser's state; -1: not trained."""
BIAS_VELOCITY = 8
"""Bias's velocity in the optimiser's state; -1: not trained."""
ACTIVATION = 9
"""Code of the activation."""
INPUT = 10
"""Input (rows, LD_IN) in the workspace: the previous stage's a."""
Z = 11
"""z (rows, LD) in the workspace."""
A = 12
"""a = h(z) (rows, LD) in the workspace; equal to Z where h' needs a alone."""
DELTA = 13
"""Delta (rows, LD) in the workspace."""
INPUT_DELTA = 14
"""Delta of the input (rows, LD_IN) in the workspace; equal to DELTA for an activation alone."""
TRANSPOSE = 15
"""Transposed weight (OUT, LD_IN) in the workspace; -1: no delta goes further back."""
COLUMNS = 16

# The frame: one int64 vector for what the stages share.
ZEROS = 0
"""A row of zeros in the workspace."""
SCRATCH = 1
"""First thread's gradient rows in the workspace."""
SCRATCH_SIZE = 2
"""Elements of gradient rows a thread has."""
MATMUL = 3
"""Address of the compiled matrix product."""
ACTIVATE = 4
"""Address of the compiled activations."""
DERIVE = 5
"""Address of the compiled derivatives of activations."""
FRAME_SIZE = 6
