"""Callbacks: what happens beside training, epoch by epoch.

A callback is any object with at least one of these methods. ``fit(..., callbacks=[...])`` calls
them in the order of the list, each with the :class:`TrainingRun` as its only argument:

======================  ===========================================================================
``on_fit_begin``        Once, before the kernels are loaded.
``on_epoch_begin``      Before an epoch; a learning rate set here counts for all of it.
``on_batch_end``        After each step. Only if some callback has it does each step become a kernel
                        call of its own; else many steps run in one.
``on_progress``         While an epoch runs, some ten times a second, whatever the batch size.
``on_epoch_trained``    After an epoch's last step, before the validation data are evaluated.
``on_epoch_end``        After the validation, when the history has the epoch's row.
``on_fit_end``          Once, whatever ended the fit: all epochs done, ``run.stop(...)``, an
                        exception or Ctrl-C.
======================  ===========================================================================

``run.stop(reason)`` ends training: after the batch in ``on_batch_end`` and ``on_progress``, else
before the next epoch.

>>> class Announce:
...     def on_epoch_end(self, run):
...         print(f"epoch {run.epoch} of {run.epochs}")
"""

from fastfcn.callbacks.average import EMA
from fastfcn.callbacks.bar import ProgressBar
from fastfcn.callbacks.checkpoint import ModelCheckpoint
from fastfcn.callbacks.early_stopping import EarlyStopping
from fastfcn.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from fastfcn.callbacks.not_a_number import TerminateOnNaN
from fastfcn.callbacks.records import CSVLogger, TensorBoard
from fastfcn.callbacks.run import TrainingRun

__all__ = [
    "EMA",
    "CSVLogger",
    "EarlyStopping",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
    "TrainingRun",
]
