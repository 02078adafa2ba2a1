"""What a compiled kernel knows: the layer table and the frame.

A network is a run of *stages*. A stage is a linear map with the activation that follows it, or an
activation alone. One int64 row describes a stage; its columns are named here. Offsets and leading
dimensions count elements; -1 says "not there".

The *frame* is one int64 vector for everything else: addresses of buffers and of compiled code, and
a few numbers. Every range kernel takes a frame, so one compilation of a kernel serves every network
and data set, and a call hands over a handful of numbers. A field is 0 where a call has no use for
it.
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
ACTIVATE = 16
"""Address of the activation's kernel."""
DERIVE = 17
"""Address of its derivative's kernel."""
COLUMNS = 18

(
    # The network.
    STAGES,  # address of the layer table
    N_STAGES,
    ALPHAS,  # address of the activations' parameters, real (N_STAGES,)
    PARAMS,  # address of weights and biases, real
    GRADS,  # address of their gradients, laid out as they are
    # The workspace, whose address is an argument of its own: offsets in elements.
    ZEROS,  # a row of zeros
    SCRATCH,  # first thread's gradient rows
    SCRATCH_SIZE,  # elements of gradient rows a thread has
    # Zero-skipping: int32, see lists.py.
    SKIPS,  # whether zeros of the input may be skipped
    LISTS,  # address of the lists
    COSTS,  # address of two generations of the weight gradient's cost, a number a tile
    FINITE,  # address of the threads' flags
    # Sparse data, packed: see sparse.py.
    ROW_AT,  # address of where each row's entries begin, int64
    ROW_LISTS,  # address of their number and features, int32
    ROW_VALUES,  # address of their values, real
    ROW_CAPACITY,  # entries that a thread's block of a prediction has at most
    FEATURE_AT,  # address of where each feature's entries begin, int64
    FEATURE_LISTS,  # address of their number and samples, int32
    FEATURE_VALUES,  # address of their values, real
    # Code: addresses of compiled kernels that others call.
    MATMUL,
    LISTED,
    FORWARD,
    LOSS,
    DELTAS,
    LEARN,
    UPDATE,
    # The data.
    X,  # address of element (0, 0)
    X_ROW_STRIDE,  # bytes
    X_COLUMN_STRIDE,  # bytes
    X_TYPE,  # code of the type, see gather.py
    X_INDPTR,  # address of where each row of CSR data begins, int64; 0: dense data
    X_INDICES,  # address of the entries' features, int32
    AFFINE,  # address of scale and shift, real (2,)
    ORDER,  # address of the samples in the order of training, int64; 0: as they come
    # The loss.
    LOSS_PARAMETER,  # address of its parameter, float64: label smoothing, say
    DIVISOR,  # code of what a batch's loss is divided by, see losses.py
    SAMPLE_WEIGHT,  # address of each sample's weight, float64; 0: none
    CLASS_WEIGHT,  # address of each class's weight, float64; 0: none
    IGNORE_INDEX,  # the label that counts for nothing
    LABELS,  # address of the classes, int64; 0: float targets
    TARGETS,  # address of the float targets, real (samples, N_OUT)
    OUTPUT,  # address of the network's output, real (rows, LD_OUTPUT)
    OUTPUT_DELTA,  # address of its gradient, real (rows, LD_OUTPUT)
    N_OUTPUT,
    LD_OUTPUT,
    VALUES,  # address of each row's loss, float64 (rows of the epoch,)
    HITS,  # address of whether each row's label came first, bool (rows of the epoch,)
    # The optimiser.
    VELOCITY,  # address of the optimiser's state, real
    HYPER,  # address of the hyperparameters, real (5,)
    # A prediction.
    RESULT,  # address of the outputs, real (rows, N_OUTPUT)
    BLOCK,  # rows that a thread takes through the network at once
    FRAME_SIZE,
) = range(52)
