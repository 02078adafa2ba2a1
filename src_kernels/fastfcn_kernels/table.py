"""What a compiled kernel knows: the layer table and the frame.

A network is a run of *stages*. A stage is a linear map with the activation that follows it, an
activation alone, or a layer of another kind. One int64 row describes a stage; its columns are named
here. Offsets and leading dimensions count elements; -1 says "not there".

The *frame* is one int64 vector for everything else: addresses of buffers and of compiled code, and
a few numbers. Every range kernel takes a frame, so one compilation of a kernel serves every network
and data set, and a call hands over a handful of numbers. A field is 0 where a call has no use for
it.
"""

KIND = 0
"""What the stage does to its input: one of the kinds below."""
IN = 1
"""Features in."""
OUT = 2
"""Features out."""
LD_IN = 3
"""Row stride of the input and of its delta."""
LD = 4
"""Row stride of z, a and delta."""
WEIGHT = 5
"""Weight (IN, LD_WEIGHT), or scale (LD_WEIGHT,) of a normalisation, in the parameters and in the
gradients."""
BIAS = 6
"""Bias (LD_WEIGHT,) in the parameters and in the gradients."""
WEIGHT_STATE = 7
"""Weight's place in the optimiser's state; -1: not trained."""
BIAS_STATE = 8
"""Bias's place in the optimiser's state; -1: not trained."""
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
"""Transposed weight (OUT, LD_TRANSPOSE) in the workspace; -1: no delta goes further back."""
FORWARD_AT = 16
"""Address of the code of the activation, or of a layer of another kind."""
BACKWARD_AT = 17
"""Address of the code of its backward pass."""
SAVED = 18
"""What a layer of another kind keeps for its backward pass (rows, LD), in the workspace."""
STATISTICS = 19
"""In the workspace: (3, LD) for each thread, a batch's mean and inverse deviation and room for one
row more; or (rows,), each row's inverse deviation."""
RUNNING = 20
"""Running mean and variance (2, LD_WEIGHT) of a batch normalisation, in the parameters."""
LD_WEIGHT = 21
"""Row stride of the weight, its gradient and its state: at least OUT, at most LD."""
LD_TRANSPOSE = 22
"""Row stride of the transposed weight: at least IN, at most LD_IN."""
COLUMNS = 23

ACTIVATION_ALONE, LINEAR, DROPOUT, BATCH_NORM, LAYER_NORM = range(5)
"""Kinds. A linear map has the activation that follows it in its stage; the others stand alone."""

(
    # The network.
    STAGES,  # address of the layer table
    N_STAGES,
    NUMBERS,  # address of the layers' parameters, real (N_STAGES, 2)
    PARAMS,  # address of weights and biases, real
    GRADS,  # address of their gradients, laid out as they are
    BOUNDS,  # address of the stages where passes are cut, int64 (N_CUTS + 2,): 0, cuts, N_STAGES
    N_CUTS,  # cuts: layers that look at a whole batch
    TRAINING,  # 1 in training mode, 0 in evaluation mode
    SEED,  # of random masks
    PARTS,  # address of the addresses of the parts' frames, one a thread: see parts.py; 0: none
    BEGIN,  # row of a batch that a part gathers, and asks for, first; 0: its share's first
    SHARES,  # address of where threads' shares begin and end, int64 (2, threads + 1); 0: alike
    SPENT,  # address of what each thread has done and how long it took, int64: see shares.py
    # The workspace, whose address is an argument of its own: offsets in elements.
    ZEROS,  # a row of zeros
    SCRATCH,  # first thread's gradient rows
    SCRATCH_SIZE,  # elements of scratch that a thread has
    PACKED,  # where in it columns of a long input are copied; 0: nowhere
    # Zero-skipping: see masks.py.
    SKIPS,  # whether zeros of the input may be skipped
    MASKS,  # address of each row's masks, int64 (rows, words of IN)
    FEATURE_MASKS,  # address of each thread's masks of features, int64
    COSTS,  # address of two generations of the weight gradient's cost, int32, a number a group
    FLAGS,  # address of the threads' flags, int32
    # Sparse data, packed: see sparse.py.
    ROW_AT,  # address of where each row's entries begin, int64
    ROW_LISTS,  # address of their number and features, int32
    ROW_VALUES,  # address of their values, real
    ROW_CAPACITY,  # entries that a thread's block of a prediction has at most
    FEATURE_AT,  # address of where each feature's entries begin, int64
    FEATURE_LISTS,  # address of their number and samples, int32
    FEATURE_VALUES,  # address of their values, real
    PACK,  # addresses of their kernels
    SPARSE_FORWARD,
    SORT,
    SPARSE_GRADIENT,
    # Code: addresses of compiled kernels that others call.
    MATMUL,
    GATHER,
    MASK_FEATURES,
    MASKED,
    LISTED,
    FORWARD,
    LOSS,
    DELTAS,
    PREPARE,
    LEARN,
    UPDATE,
    PHASES,  # address of the addresses of range kernels, in order: before training, ...
    N_BEFORE,
    N_PHASES,  # ... of a training step, ...
    N_AFTER,  # ... and after it
    # The data.
    X,  # address of element (0, 0)
    X_ROW_STRIDE,  # bytes
    X_COLUMN_STRIDE,  # bytes
    CONVERT,  # address of the kernel that reads their type
    X_INDPTR,  # address of where each row of CSR data begins, int64; 0: dense data
    X_INDICES,  # address of the entries' features, int32
    AFFINE,  # address of scale and shift, real (2,)
    ORDER,  # address of the samples in the order of training, int64; 0: as they come
    N_ORDER,  # their number
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
    STEP,  # address of its step kernel
    STATE,  # address of its state, real
    STATE_SLOT,  # elements from one slot of the state to the next
    STATE_SLOTS,  # their number
    BATCH,  # rows a step
    STOP,  # row of the epoch where the steps end
    HYPER,  # address of the hyperparameters, real (steps, 2, HYPERPARAMETERS)
    FIRST_STEP,  # step of the epoch that the first of them is for
    CLIP,  # address of the norm that gradients are cut to, real; 0: never
    NORMS,  # address of the sum of squares of each row of a gradient, float64
    # A prediction.
    RESULT,  # address of the outputs, real (rows, N_OUTPUT)
    BLOCK,  # rows that a thread takes through the network at once
    FRAME_SIZE,
) = range(83)
