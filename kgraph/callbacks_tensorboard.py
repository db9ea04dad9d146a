"""The TensorBoard callback: logs of training that TensorBoard shows.

`kgraph.callbacks` offers it to users; `utils/event_file.py` writes the bytes. What TensorBoard shows of a model is
computed by one function of the model's inputs, made when training begins.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kgraph.callbacks import Callback, Logs
from kgraph.utils import event_file
from kgraph.utils.generic_utils import to_list

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Writes an event file for TensorBoard: `tensorboard --logdir=LOG_DIR` shows it.

    Scalars carry the names that the logs have, and the epoch as their step. Histograms need validation data.

    # Arguments
        log_dir: folder of the event file.
        histogram_freq: number of epochs between two histograms of weights and of layers' outputs; 0 for none.
        batch_size: samples that are fed at once when histograms and embeddings are computed.
        write_graph: whether to write the model's graph.
        write_grads: whether to write histograms of gradients too.
        write_images: whether to write weights as images too.
        embeddings_freq: number of epochs between two writings of embeddings; 0 for none.
        embeddings_layer_names: layers whose output is written; None for all Embedding layers.
        embeddings_metadata: name of a file in `log_dir` with the labels of the points, or a dictionary of such names
            by layer.
        embeddings_data: model inputs whose embeddings are written: an array, or a list of them.
        update_freq: "epoch"; "batch" to write the scalars after each batch too; or a number of samples after which to
            write them. In the last two cases the step of scalars is the number of samples seen.
    """

    def __init__(
        self,
        log_dir: Any = "./logs",
        histogram_freq: int = 0,
        batch_size: int = 32,
        write_graph: bool = True,
        write_grads: bool = False,
        write_images: bool = False,
        embeddings_freq: int = 0,
        embeddings_layer_names: Sequence[str] | None = None,
        embeddings_metadata: Any = None,
        embeddings_data: Any = None,
        update_freq: Any = "epoch",
    ) -> None:
        super().__init__()
        if update_freq not in ("epoch", "batch") and not isinstance(update_freq, (int, np.integer)):
            raise ValueError(f'`update_freq` must be "epoch", "batch" or a number of samples. Received: {update_freq}')
        if batch_size < 1:
            raise ValueError(f"`batch_size` of TensorBoard must be at least 1. Received: {batch_size}")
        self.log_dir = log_dir
        self.histogram_freq = histogram_freq
        self.batch_size = batch_size
        self.write_graph = write_graph
        self.write_grads = write_grads
        self.write_images = write_images
        self.embeddings_freq = embeddings_freq
        self.embeddings_layer_names = embeddings_layer_names
        self.embeddings_metadata = embeddings_metadata or {}
        self.embeddings_data = embeddings_data
        self.update_freq: Any = 1 if update_freq == "batch" else update_freq
        self.samples_seen = 0
        self.samples_seen_at_last_write = 0
        self.writer: Any = None

    def set_model(self, model: Any) -> None:
        """Begin an event file for this model."""
        self.model = model
        if self.writer is not None:
            self.writer.close()
        self.writer = event_file.EventFileWriter(self.log_dir)
        self._statistics: _Statistics | None = None
        self._embeddings: _Embeddings | None = None
        self._complained: set[str] = set()
        if self.write_graph:
            self.writer.add_graph(_model_graph(model))
        if self.embeddings_freq and self.embeddings_data is not None:
            self._embeddings = _Embeddings(self, model)
        self.writer.flush()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.histogram_freq and not self.validation_data:
            raise ValueError(
                "If printing histograms, validation_data must be provided, and cannot be a generator. Pass arrays as "
                "`validation_data`, or `histogram_freq=0` to TensorBoard."
            )
        if self.embeddings_freq and self.embeddings_data is None:
            raise ValueError("To visualize embeddings, embeddings_data must be provided.")
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_statistics(epoch)
        if self._embeddings is not None and epoch % self.embeddings_freq == 0:
            self._embeddings.write(self.batch_size)
        self._write_logs(logs or {}, epoch if self.update_freq == "epoch" else self.samples_seen)

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.update_freq == "epoch":
            return
        logs = logs or {}
        self.samples_seen += logs.get("size", 0)
        if self.samples_seen - self.samples_seen_at_last_write >= self.update_freq:
            self._write_logs(logs, self.samples_seen)
            self.samples_seen_at_last_write = self.samples_seen

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.writer.close()

    def _write_logs(self, logs: Logs, step: int) -> None:
        for name, value in logs.items():
            if name not in ("batch", "size"):
                self.writer.add_summary([event_file.scalar(name, value)], step)
        self.writer.flush()

    def _write_statistics(self, epoch: int) -> None:
        if self._statistics is None:
            self._statistics = _Statistics(self.model, self.write_grads)
        values = self._weights()
        for results in self._statistics.batches(self.validation_data, self.batch_size):
            for tag, result in results:
                values += self._histogram(tag, result)
            self.writer.add_summary(values, epoch)
            values = []

    def _weights(self) -> list[bytes]:
        """The histograms and images of the weights."""
        from kgraph import backend as K

        values: list[bytes] = []
        for layer in self.model.layers:
            for weight in layer.weights:
                content = K.get_value(weight)
                values += self._histogram(_tag(weight.name), content)
                if self.write_images:
                    batch = _as_images(content, K.image_data_format())
                    values += [] if batch is None else event_file.images(_tag(weight.name), batch)
        return values

    def _histogram(self, tag: str, content: Any) -> list[bytes]:
        content = np.asarray(content)
        finite = np.isfinite(content)
        if not finite.all():
            if tag not in self._complained:
                warnings.warn(
                    f"{tag} includes NaN or infinity; its histograms leave these out.", RuntimeWarning, stacklevel=2
                )
            self._complained.add(tag)
            content = content[finite]
        return [event_file.histogram(tag, content)]


def _tag(name: str) -> str:
    """A name as TensorBoard's tags may be."""
    return re.sub(r"[^-/\w.]", "_", name).lstrip("/")


def _as_images(weight: np.ndarray, data_format: str) -> np.ndarray | None:
    """A weight as images of shape (images, height, width); None where it has too many axes.

    A matrix is an image that is wider than high, a vector one column; a stack of matrices gives an image for each
    channel.
    """
    x = np.squeeze(weight)
    if x.ndim == 1:
        return x.reshape((1, -1, 1))
    if x.ndim == 2:
        return (x.T if x.shape[0] > x.shape[1] else x)[None]
    if x.ndim == 3:
        return np.transpose(x, (2, 0, 1)) if data_format == "channels_last" else x
    return None


def _in_model(model: Any, layer: Any) -> bool:
    """Whether the only output of `layer` is one that the model computes."""
    return hasattr(layer, "output") and (not model._is_graph_network or bool(model._nodes_of(layer)))


class _Statistics:
    """The outputs of a model's layers and, where asked for, the gradients of its weights, on validation data."""

    def __init__(self, model: Any, gradients: bool) -> None:
        from kgraph import backend as K

        self.tags: list[str] = []
        tensors: list[Any] = []
        if gradients:
            weights = [w for layer in model.layers for w in layer.trainable_weights]
            self.tags += [f"{_tag(weight.name)}_grad" for weight in weights]
            tensors += model.optimizer.get_gradients(model.total_loss, weights) if weights else []
        for layer in model.layers:
            if not _in_model(model, layer):
                continue
            outputs = to_list(layer.output)
            several = isinstance(layer.output, list)
            self.tags += [
                _tag(f"{layer.name}_out_{i}" if several else f"{layer.name}_out") for i in range(len(outputs))
            ]
            tensors += outputs
        self.inputs = [*model._feed_inputs, *model._feed_targets, *model._feed_sample_weights]
        self.phase = [] if isinstance(K.learning_phase(), int) else [K.learning_phase()]
        self.function = K.function([*self.inputs, *self.phase], tensors, name="tensorboard")

    def batches(self, data: Sequence[Any], size: int) -> Iterator[list[tuple[str, np.ndarray]]]:
        """The values by tag for each batch of `data`, which is inputs, targets, sample weights and maybe the phase."""
        arrays = data[: len(self.inputs)]
        if len(arrays) < len(self.inputs):
            raise ValueError(
                f"TensorBoard needs validation data for the {len(self.inputs)} inputs, targets and sample weights of "
                f"the model, got {len(arrays)} arrays."
            )
        for start in range(0, len(arrays[0]), size):
            feed = [np.asarray(x[start : start + size]) for x in arrays]
            yield list(zip(self.tags, self.function([*feed, *(0.0 for _ in self.phase)]), strict=True))


class _Embeddings:
    """The outputs of some layers for fixed inputs, as files that TensorBoard's projector reads.

    The projector's configuration and one file of tab-separated numbers per layer, a row per sample, lie in `log_dir`.
    """

    def __init__(self, settings: TensorBoard, model: Any) -> None:
        from kgraph import backend as K
        from kgraph.engine.training_utils import standardize_input_data

        self.log_dir = os.fspath(settings.log_dir)
        self.data = standardize_input_data(settings.embeddings_data, model.input_names)
        names = settings.embeddings_layer_names or [x.name for x in model.layers if type(x).__name__ == "Embedding"]
        layers = [layer for layer in model.layers if layer.name in names]
        missing = sorted(set(names) - {layer.name for layer in layers})
        if missing:
            raise ValueError(f"`embeddings_layer_names` of TensorBoard names layers that the model lacks: {missing}")
        self.names = [layer.name for layer in layers]
        phase = [] if isinstance(K.learning_phase(), int) else [K.learning_phase()]
        self.tail = [0.0 for _ in phase]
        self.function = K.function([*model.inputs, *phase], [layer.output for layer in layers], name="embeddings")
        with open(os.path.join(self.log_dir, "projector_config.pbtxt"), "w", encoding="utf-8") as f:
            f.write(_projector_config(self.names, settings.embeddings_metadata))

    def write(self, batch_size: int) -> None:
        """Compute the outputs with the present weights and write them."""
        parts: list[list[np.ndarray]] = [[] for _ in self.names]
        for start in range(0, len(self.data[0]), batch_size):
            results = self.function([*(x[start : start + batch_size] for x in self.data), *self.tail])
            for part, result in zip(parts, results, strict=True):
                part.append(result.reshape((len(result), -1)))
        for name, part in zip(self.names, parts, strict=True):
            np.savetxt(os.path.join(self.log_dir, _tensor_file(name)), np.concatenate(part), "%.9g", delimiter="\t")


def _tensor_file(layer: str) -> str:
    return f"keras_embedding_{_tag(layer).replace('/', '_')}.tsv"


def _projector_config(layers: Sequence[str], metadata: Any) -> str:
    """The text of the projector's configuration; `metadata` is a file name, or a dictionary of them by layer."""
    lines = []
    for layer in layers:
        labels = metadata if isinstance(metadata, (str, os.PathLike)) else metadata.get(layer)
        fields = {"tensor_name": f"{layer}_embedding:0", "tensor_path": _tensor_file(layer)}
        if labels is not None:
            fields["metadata_path"] = os.fspath(labels)
        lines.append("embeddings {")
        lines += [f"  {key}: {json.dumps(value)}" for key, value in fields.items()]
        lines.append("}")
    return "".join(line + "\n" for line in lines)


# The graph


def _model_graph(model: Any) -> bytes:
    """The graph of the model, with its losses and metrics where it is compiled; a group for each layer."""
    from kgraph import backend as K

    inputs, outputs = list(model._feed_inputs), list(model.outputs)
    if model._is_compiled:
        inputs += [*model._feed_targets, *model._feed_sample_weights]
        outputs += [model.total_loss, *model.metrics_tensors]
    if not isinstance(K.learning_phase(), int):
        inputs.append(K.learning_phase())
    graph = K.function(inputs, outputs, name=model.name).graph
    names = _Names()
    nodes = [names.node(x, x.name or "input", "Placeholder") for x in graph.inputs]
    nodes += [names.node(x.value, x.path, "Variable") for x in graph.variables]
    for node in graph.nodes:
        base = names.free("/".join((*node.origin, node.op.name)))
        for i, x in enumerate(node.outputs):
            names.known[x] = f"{base}:{i}" if i else base
        sources = [names.known[x] for x in node.inputs]
        nodes.append(event_file.graph_node(base, node.op.name, sources, [_type(x) for x in node.outputs]))
    return event_file.graph_def(nodes)


def _type(value: Any) -> tuple[str, list[int | None]]:
    return value.type.dtype.name, [d if isinstance(d, int) else None for d in value.shape]


class _Names:
    """Names of the nodes of a graph, each used once, by the values that they compute."""

    def __init__(self) -> None:
        self.known: dict[Any, str] = {}
        self._counts: dict[str, int] = {}

    def free(self, name: str) -> str:
        """`name` with characters that names may not have replaced, and a number behind where it is taken."""
        name = re.sub(r"[^\w./-]", "_", name).lstrip("_/-") or "node"
        number = self._counts.get(name, 0)
        self._counts[name] = number + 1
        return self.free(f"{name}_{number}") if number else name

    def node(self, value: Any, name: str, op: str) -> bytes:
        """The node of an input or a variable."""
        self.known[value] = self.free(name)
        return event_file.graph_node(self.known[value], op, [], [_type(value)])
