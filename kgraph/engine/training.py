"""`Model`: a network that can be compiled, trained, evaluated and asked for predictions.

`compiling.py` makes the losses and metrics, `feeding.py` checks what a user feeds, `training_arrays.py` loops over
batches of arrays, `training_generator.py` over those of generators. Everything runs through `K.function`: one
function trains, one tests, one predicts, each made when it is first used.
"""

from __future__ import annotations

import warnings
from typing import Any

from codegen import collector
from kgraph import backend as K
from kgraph import optimizers
from kgraph.engine import feeding, inspection, training_arrays, training_generator, training_utils
from kgraph.engine.base_layer import Layer
from kgraph.engine.compiling import Compiled, compile_outputs
from kgraph.engine.feeding import Data
from kgraph.engine.network import Network
from kgraph.engine.training_utils import (
    check_array_length_consistency,
    check_loss_and_target_compatibility,
    collect_metrics,
    standardize_class_weights,
    standardize_input_data,
    standardize_sample_weights,
    standardize_weights,
    weighted_masked_objective,
)
from kgraph.legacy import interfaces
from kgraph.utils.generic_utils import slice_arrays, to_list, unpack_singleton

_NOT_COMPILED = "You must compile a model before training/testing. Use `model.compile(optimizer, loss)`."


class Model(Network):
    """A network with training and prediction: `Model(inputs, outputs)`, or a subclass that implements `call`.

    # Properties, once compiled
        optimizer, loss, metrics, metrics_names, total_loss, targets, sample_weights
    """

    # Compiling

    def compile(
        self,
        optimizer: Any,
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        sample_weight_mode: Any = None,
        weighted_metrics: Any = None,
        target_tensors: Any = None,
        **kwargs: Any,
    ) -> None:
        """Configure the model for training.

        # Arguments
            optimizer: an optimizer or its name.
            loss: a function `(y_true, y_pred)` or its name; for several outputs a list, or a dictionary by output.
            metrics: a list of functions or names; for several outputs also a dictionary by output.
            loss_weights: factors of the outputs' losses: a list, or a dictionary by output.
            sample_weight_mode: "temporal" for weights per timestep, None for weights per sample.
            weighted_metrics: like `metrics`, weighted by sample and class weights.
            target_tensors: tensors to use as targets, in place of data.

        # Raises
            ValueError: for an unknown name, or where there is nothing to optimize.
        """
        if kwargs:
            raise TypeError(f"compile() got unexpected keyword arguments: {sorted(kwargs)}")
        self.optimizer = optimizers.get(optimizer)
        self.loss = loss if loss is not None else []
        self.metrics = metrics or []
        self.loss_weights = loss_weights
        self.sample_weight_mode = sample_weight_mode
        self.weighted_metrics = weighted_metrics
        self._functions: dict[tuple[str, bool], Any] = {}
        self._is_compiled = False
        if not self.built:
            # Inputs and outputs are not known yet; compiling goes on when the first data has told them.
            self._target_tensors = target_tensors
            return
        self._compiled: Compiled = compile_outputs(
            self, loss, metrics, loss_weights, sample_weight_mode, weighted_metrics, target_tensors
        )
        made = self._compiled
        fed = made.fed_targets
        self.loss_functions = made.loss_functions
        self.total_loss = made.total_loss
        self.targets = [target for target in made.targets if target is not None]
        self.sample_weights = [weights for weights in made.sample_weights if weights is not None]
        self.sample_weight_modes = made.sample_weight_modes
        self.metrics_names = made.metrics_names
        self.metrics_tensors = made.metrics_tensors
        self.metrics_updates = made.metrics_updates
        self.stateful_metric_names = made.stateful_metric_names
        self.stateful_metric_functions = made.stateful_metric_functions
        self._feed_targets = [made.targets[i] for i in fed]
        self._feed_output_names = [self.output_names[i] for i in fed]
        self._feed_output_shapes = [self._internal_output_shapes[i] for i in fed]
        self._feed_loss_fns = [made.loss_functions[i] for i in fed]
        self._feed_sample_weights = [made.sample_weights[i] for i in fed]
        self._feed_sample_weight_modes = [made.sample_weight_modes[i] for i in fed]
        self._training_updates: list[Any] | None = None
        self._collected_trainable_weights = self.trainable_weights
        self._is_compiled = True
        K.get_session().last_compiled_model = self

    def _check_trainable_weights_consistency(self) -> None:
        """Warn where `trainable` was changed after `compile`, which has no effect."""
        collected = self.__dict__.get("_collected_trainable_weights")
        if collected is not None and len(self.trainable_weights) != len(collected):
            warnings.warn(
                "Discrepancy between trainable weights and collected trainable weights, did you set "
                "`model.trainable` without calling `model.compile` after ?",
                stacklevel=3,
            )

    def _require_compiled(self) -> None:
        if self.optimizer is None:
            raise RuntimeError(_NOT_COMPILED)
        if not self._is_compiled:
            self.compile(
                self.optimizer,
                self.loss,
                self.metrics,
                self.loss_weights,
                self.sample_weight_mode,
                self.weighted_metrics,
                self.__dict__.get("_target_tensors"),
            )

    # Functions

    def _function(self, kind: str, weighted: bool = False) -> Any:
        """The function that trains, tests or predicts; `weighted` ones take sample weights after the targets."""
        functions = self.__dict__.setdefault("_functions", {})
        if (kind, weighted) not in functions:
            with collector.pause:
                functions[kind, weighted] = self._make_function(kind, weighted)
        return functions[kind, weighted]

    def _make_function(self, kind: str, weighted: bool) -> Any:
        inputs = list(self._feed_inputs)
        if kind == "predict":
            outputs, updates = self.outputs, self.state_updates
        else:
            inputs += self._feed_targets + (self._feed_sample_weights if weighted else [])
            outputs = [self.total_loss, *self.metrics_tensors]
            updates = self._train_updates() if kind == "train" else self.state_updates + self.metrics_updates
        if not isinstance(K.learning_phase(), int):
            inputs.append(K.learning_phase())
        return K.function(inputs, outputs, updates=updates, name=f"{kind}_function")

    def _train_updates(self) -> list[Any]:
        if self._training_updates is None:
            with K.name_scope("training"), K.name_scope(type(self.optimizer).__name__):
                made = self.optimizer.get_updates(params=self._collected_trainable_weights, loss=self.total_loss)
            self._training_updates = [*self.updates, *made, *self.metrics_updates]
        return self._training_updates

    def _phase(self, phase: int) -> list[float]:
        """The learning phase as functions are fed it; nothing where it is fixed."""
        return [] if isinstance(K.learning_phase(), int) else [float(phase)]

    def _make_train_function(self) -> None:
        """Make the function that trains, and with it the optimizer's weights."""
        self._require_compiled()
        self._function("train")

    def _make_test_function(self) -> None:
        self._require_compiled()
        self._function("test")

    def _make_predict_function(self) -> None:
        self._function("predict")

    @property
    def train_function(self) -> Any:
        """The function of inputs, targets, sample weights and learning phase that makes a step of training."""
        return self._function("train", True) if self._is_compiled else None

    @property
    def test_function(self) -> Any:
        return self._function("test", True) if self._is_compiled else None

    @property
    def predict_function(self) -> Any:
        return self._function("predict") if self.built else None

    # What users feed

    def _set_inputs(self, inputs: Any) -> None:
        feeding.set_inputs(self, inputs)

    def _standardize_user_data(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        check_array_lengths: bool = True,
        batch_size: int | None = None,
    ) -> Data:
        """What a user feeds, checked: inputs, targets and sample weights. `y` None: for predicting."""
        return feeding.standardize_user_data(
            self, x, y, sample_weight, class_weight, check_array_lengths, batch_size
        )

    # Training and testing on arrays

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int = 1,
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: Any = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Train the model.

        # Arguments
            x: inputs: an array, a list, or a dictionary by input.
            y: targets: an array, a list, or a dictionary by output.
            batch_size: samples per step; 32 by default.
            epochs: number of the last epoch.
            verbose: 0 silent, 1 a progress bar, 2 a line per epoch.
            callbacks: a list of `kgraph.callbacks.Callback`.
            validation_split: fraction at the end of the data to keep for validation.
            validation_data: `(x, y)` or `(x, y, sample_weight)` to validate on.
            shuffle: whether to shuffle before each epoch; "batch" shuffles whole batches.
            class_weight: a dictionary from classes to weights.
            sample_weight: weights of the samples.
            initial_epoch: number of epochs done before. If a file that was saved after just so many epochs gave the
                model, training goes on with the same bits as if it had not stopped: numpy's random state and the states
                of stateful layers are as they were then.
            steps_per_epoch: steps of an epoch, where the data does not end by itself.
            validation_steps: steps of a validation, with `steps_per_epoch`.

        # Returns
            A `History`, whose `history` holds the results of each epoch by name.
        """
        if batch_size is None and steps_per_epoch is None:
            batch_size = 32
        if "nb_epoch" in kwargs:
            warnings.warn("The `nb_epoch` argument in `fit` has been renamed `epochs`.", stacklevel=2)
            epochs = kwargs.pop("nb_epoch")
        if kwargs:
            raise TypeError(f"Unrecognized keyword arguments: {kwargs}")
        feeding.check_run(epochs, callbacks)
        if x is None and y is None and steps_per_epoch is None:
            raise ValueError("If fitting from data tensors, you should specify the `steps_per_epoch` argument.")
        if y is None:
            y = feeding.no_targets(self, x)
        data = self._standardize_user_data(x, y, sample_weight, class_weight, batch_size=batch_size)
        validation = None
        if feeding.is_given(validation_data):
            validation = feeding.validation_data(self, validation_data, batch_size)
        elif validation_split and 0.0 < validation_split < 1.0:
            data, validation = feeding.split(data, validation_split)
        elif validation_steps:
            validation = ([], [], [])
        self._check_trainable_weights_consistency()
        train, ins = self._with_function("train", data, 1)
        val_f, val_ins = self._with_function("test", validation, 0) if validation else (None, None)
        labels = self.metrics_names
        names = [*labels, *(f"val_{label}" for label in labels)] if validation else list(labels)
        return training_arrays.fit_loop(
            self,
            train,
            ins,
            out_labels=labels,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            val_f=val_f,
            val_ins=val_ins,
            shuffle=shuffle,
            callback_metrics=names,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_data=feeding.shown_to_callbacks(self, validation) if validation else None,
        )

    def _with_function(self, kind: str, data: Data, phase: int) -> tuple[Any, list[Any]]:
        """The function for this data, and what it is fed."""
        x, y, weights = data
        return self._function(kind, bool(weights)), [*x, *y, *weights, *self._phase(phase)]

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int = 1,
        sample_weight: Any = None,
        steps: int | None = None,
    ) -> Any:
        """The loss and metrics on this data, without training; `metrics_names` names them.

        # Returns
            A number, or a list where the model has metrics or several outputs.
        """
        if batch_size is None and steps is None:
            batch_size = 32
        if x is None and y is None and steps is None:
            raise ValueError("If evaluating from data tensors, you should specify the `steps` argument.")
        if y is None:
            y = feeding.no_targets(self, x)
        data = self._standardize_user_data(x, y, sample_weight=sample_weight, batch_size=batch_size)
        f, ins = self._with_function("test", data, 0)
        return training_arrays.test_loop(self, f, ins, batch_size=batch_size, verbose=verbose, steps=steps)

    def predict(self, x: Any, batch_size: int | None = None, verbose: int = 0, steps: int | None = None) -> Any:
        """The outputs for these inputs, computed in batches: an array, or a list for several outputs."""
        if batch_size is None and steps is None:
            batch_size = 32
        if x is None and steps is None:
            raise ValueError("If predicting from data tensors, you should specify the `steps` argument.")
        inputs, _, _ = self._standardize_user_data(x)
        if batch_size is not None:
            training_utils.check_batch_size(batch_size)
        if self.stateful and batch_size and inputs[0].shape[0] > batch_size and inputs[0].shape[0] % batch_size:
            raise ValueError(
                "In a stateful network, you should only pass inputs with a number of samples that can be divided by "
                f"the batch size. Found: {inputs[0].shape[0]} samples. Batch size: {batch_size}."
            )
        f, ins = self._with_function("predict", (inputs, [], []), 0)
        return training_arrays.predict_loop(self, f, ins, batch_size=batch_size, verbose=verbose, steps=steps)

    # Single batches

    def train_on_batch(self, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None) -> Any:
        """Make one step of training on this batch. Returns the loss, or a list of it and the metrics."""
        y = feeding.no_targets(self, x) if y is None else y
        data = self._standardize_user_data(x, y, sample_weight, class_weight)
        self._check_trainable_weights_consistency()
        f, ins = self._with_function("train", data, 1)
        return unpack_singleton(f(ins))

    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        """The loss on this batch, or a list of it and the metrics; nothing is trained."""
        y = feeding.no_targets(self, x) if y is None else y
        data = self._standardize_user_data(x, y, sample_weight)
        f, ins = self._with_function("test", data, 0)
        return unpack_singleton(f(ins))

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for this batch: an array, or a list."""
        inputs, _, _ = self._standardize_user_data(x)
        f, ins = self._with_function("predict", (inputs, [], []), 0)
        return unpack_singleton(f(ins))

    # Training and testing on generators

    @interfaces.legacy_generator_methods_support
    def fit_generator(
        self,
        generator: Any,
        steps_per_epoch: float | None = None,
        epochs: int = 1,
        verbose: int = 1,
        callbacks: Any = None,
        validation_data: Any = None,
        validation_steps: float | None = None,
        class_weight: Any = None,
        max_queue_size: int = 10,
        workers: int = 1,
        use_multiprocessing: bool = False,
        shuffle: bool = True,
        initial_epoch: int = 0,
    ) -> Any:
        """Train on batches that are prepared in the background; what the generator raises, this raises.

        # Arguments
            generator: a generator of `(x, y)` or `(x, y, sample_weight)`, or a `kgraph.utils.Sequence` of them.
            steps_per_epoch: batches in an epoch; None for the length of a `Sequence`.
            epochs, verbose, callbacks, class_weight, initial_epoch: as for `fit`.
            validation_data: a generator or `Sequence`, or `(x, y)` or `(x, y, sample_weight)`.
            validation_steps: batches of a validation; None for the length of a `Sequence`.
            max_queue_size: batches that may be prepared ahead.
            workers: number of threads or processes that prepare batches; 0 prepares them in between the steps.
            use_multiprocessing: whether these are processes.
            shuffle: whether to shuffle the order of a `Sequence`'s batches before each epoch.

        # Returns
            A `History`, whose `history` holds the results of each epoch by name.
        """
        return training_generator.fit_generator(
            self,
            generator,
            steps_per_epoch=steps_per_epoch,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_data=validation_data,
            validation_steps=validation_steps,
            class_weight=class_weight,
            max_queue_size=max_queue_size,
            workers=workers,
            use_multiprocessing=use_multiprocessing,
            shuffle=shuffle,
            initial_epoch=initial_epoch,
        )

    @interfaces.legacy_generator_methods_support
    def evaluate_generator(
        self,
        generator: Any,
        steps: float | None = None,
        max_queue_size: int = 10,
        workers: int = 1,
        use_multiprocessing: bool = False,
        verbose: int = 0,
    ) -> Any:
        """The loss and metrics on batches of a generator or `Sequence`, as `evaluate` gives them."""
        return training_generator.evaluate_generator(
            self, generator, steps, max_queue_size, workers, use_multiprocessing, verbose
        )

    @interfaces.legacy_generator_methods_support
    def predict_generator(
        self,
        generator: Any,
        steps: float | None = None,
        max_queue_size: int = 10,
        workers: int = 1,
        use_multiprocessing: bool = False,
        verbose: int = 0,
    ) -> Any:
        """The outputs for batches of a generator or `Sequence`, which may give targets with the inputs."""
        return training_generator.predict_generator(
            self, generator, steps, max_queue_size, workers, use_multiprocessing, verbose
        )

    # Looking inside

    def ir(self, phase: str = "test", stage: str = "fused") -> Any:
        """The model's graph.

        # Arguments
            phase: "train" for a step of training, "test" for prediction.
            stage: "source" (the model, with its losses for training), "differentiated" (with gradients and updates),
                the name of a pass for the graph after it, or "fused" for the graph that becomes kernels.
        """
        return inspection.model_ir(self, phase, stage)

    def kernels(self, phase: str = "test") -> Any:
        """The kernels generated for the model, with their sources."""
        return inspection.model_kernels(self, phase)

    def compile_report(self) -> Any:
        """What compiling did, for training (where the model is compiled) and for prediction: print it."""
        return inspection.compile_report(self, ("train", "test") if self._is_compiled else ("test",))


__all__ = [
    "Layer",
    "Model",
    "Network",
    "check_array_length_consistency",
    "check_loss_and_target_compatibility",
    "collect_metrics",
    "slice_arrays",
    "standardize_class_weights",
    "standardize_input_data",
    "standardize_sample_weights",
    "standardize_weights",
    "to_list",
    "unpack_singleton",
    "weighted_masked_objective",
]
