"""What users and Keras' own code reach into: nodes, losses and updates by inputs, the parts of networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kgraph import backend as K
from kgraph import engine, layers, models
from kgraph.engine import base_layer, network, topology
from kgraph.engine.base_layer import InputSpec, Node
from kgraph.layers import (
    LSTM,
    Add,
    BatchNormalization,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Input,
    Lambda,
    Layer,
    Masking,
)
from kgraph.models import Model, Sequential, clone_model
from kgraph.optimizers import SGD

pytestmark = pytest.mark.usefixtures("reference_session")

X = np.sin(np.arange(12.0)).reshape(4, 3).astype("float32")


# Nodes


def test_a_node_of_one_input() -> None:
    x = Input((3,), name="x")
    layer = Dense(2, name="d")
    y = layer(x)
    (node,) = layer._inbound_nodes
    assert isinstance(node, Node) and node.outbound_layer is layer
    assert [a.name for a in node.inbound_layers] == ["x"]
    assert (node.node_indices, node.tensor_indices) == ([0], [0])
    assert node.input_tensors == [x] and node.output_tensors == [y]
    assert node.input_masks == [None] and node.output_masks == [None]
    assert node.input_shapes == [(None, 3)] and node.output_shapes == [(None, 2)]
    assert y._keras_history == (layer, 0, 0)
    assert x._keras_history[0]._outbound_nodes == [node]
    assert node.get_config() == {
        "outbound_layer": "d", "inbound_layers": ["x"], "node_indices": [0], "tensor_indices": [0]
    }  # fmt: skip


def test_nodes_of_several_calls_and_tensors() -> None:
    a, b = Input((3,), name="a"), Input((3,), name="b")
    shared = Dense(3, name="shared")
    first, second = shared(a), shared(b)
    split = Lambda(lambda x: [x + 1, x * 2], output_shape=lambda shape: [shape, shape], name="split")
    up, twice = split(second)
    join = Concatenate(name="join")
    joined = join([first, twice, up])
    (node,) = join._inbound_nodes
    assert [layer.name for layer in node.inbound_layers] == ["shared", "split", "split"]
    assert node.node_indices == [0, 0, 0] and node.tensor_indices == [0, 1, 0]
    assert split._inbound_nodes[0].node_indices == [1], "the second call of the shared layer"
    assert (first._keras_history[1], second._keras_history[1], twice._keras_history[2]) == (0, 1, 1)
    assert [shared.get_input_at(i) for i in (0, 1)] == [a, b]
    assert [shared.get_output_at(i) for i in (0, 1)] == [first, second]
    assert shared.get_input_shape_at(1) == (None, 3) and split.get_output_shape_at(0) == [(None, 3), (None, 3)]
    assert join.input == [first, twice, up] and join.output is joined and join.output_shape == (None, 9)
    assert split.output == [up, twice] and split.input is second
    assert shared.input_shape == (None, 3), "all calls agree"
    for name, what in (("input", "multiple inbound nodes"), ("output", "multiple inbound nodes")):
        with pytest.raises(AttributeError, match=what):
            getattr(shared, name)
    with pytest.raises(ValueError, match="only 2 inbound nodes"):
        shared.get_input_at(2)
    with pytest.raises(AttributeError, match="never been called|not connected"):
        _ = Dense(2).input


def test_shapes_of_calls_that_differ() -> None:
    layer = Flatten()
    layer(Input((2, 3)))
    layer(Input((4, 5)))
    assert layer.get_output_shape_at(0) == (None, 6) and layer.get_output_shape_at(1) == (None, 20)
    with pytest.raises(AttributeError, match="different|multiple"):
        _ = layer.output_shape


def test_masks_at_nodes() -> None:
    words = Input((5,), dtype="int32")
    embedding = Embedding(9, 4, mask_zero=True)
    vectors = embedding(words)
    masking = Masking(0.0)
    masked = masking(vectors)
    last = LSTM(3)
    last(masked)
    assert embedding.input_mask is None and embedding.output_mask is not None
    assert masking.get_input_mask_at(0) is embedding.output_mask
    assert last.input_mask is masking.get_output_mask_at(0) and last.output_mask is None
    data = np.array([[1, 2, 0, 0, 3]])
    assert_array_equal(K.function([words], [embedding.output_mask])([data])[0], [[1, 1, 0, 0, 1]])


def test_keyword_arguments_of_calls_are_remembered() -> None:
    class Scale(Layer):
        def call(self, inputs: Any, factor: float = 1.0) -> Any:
            return inputs * factor

    x = Input((3,))
    layer = Scale(name="s")
    model = Model(x, Add()([layer(x, factor=2.0), layer(x, factor=5.0)]))
    assert [node.arguments for node in layer._inbound_nodes] == [{"factor": 2.0}, {"factor": 5.0}]
    copy = Model.from_config(model.get_config(), custom_objects={"Scale": Scale})
    assert_allclose(copy.predict(X), 7 * X, rtol=1e-6)


# Losses and updates


def test_losses_and_updates_by_inputs() -> None:
    a, b = Input((3,)), Input((3,))
    dense = Dense(2, kernel_regularizer="l2", activity_regularizer="l1")
    norm = BatchNormalization()
    first, second = norm(dense(a)), norm(dense(b))
    assert len(dense.losses) == 3
    (weights,) = dense.get_losses_for(None)
    (one,), (two,) = dense.get_losses_for(a), dense.get_losses_for([b])
    assert {weights, one, two} == set(dense.losses) and dense.get_losses_for(first) == []
    assert len(norm.updates) == 4
    hidden = [dense.get_output_at(i) for i in (0, 1)]
    assert [len(norm.get_updates_for(x)) for x in (*hidden, None)] == [2, 2, 0]
    assert set(norm.get_updates_for(hidden[0])).isdisjoint(norm.get_updates_for(hidden[1]))

    model = Model(a, first)
    assert set(model.losses) == {weights, one}, "not those of other calls"
    assert set(model.updates) == set(norm.get_updates_for(hidden[0]))
    c = Input((3,))
    model(c)
    assert model.get_losses_for(None) == [weights] and len(model.get_losses_for(c)) == 1
    assert len(model.get_updates_for(c)) == 2 and set(model.updates) == set(norm.get_updates_for(hidden[0]))
    assert set(Model(b, second).losses) == {weights, two}
    norm.trainable = False
    assert norm.updates == [] and norm.get_updates_for(hidden[0]) == [] and model.updates == []


def test_losses_and_updates_of_users() -> None:
    class Counting(Layer):
        def build(self, input_shape: Any) -> None:
            self.calls = self.add_weight("calls", (), initializer="zeros", trainable=False)
            super().build(input_shape)

        def call(self, inputs: Any) -> Any:
            self.add_loss(K.mean(inputs), inputs=inputs)  # the mean of what comes in
            self.add_loss([K.sum(self.calls)])
            self.add_update([K.update_add(self.calls, 1.0)])
            self.add_update(None)
            return inputs

    x = Input((3,))
    layer = Counting()
    dense = Dense(3, kernel_initializer="identity")
    model = Model(x, layer(dense(x)))
    x = dense.output
    assert [len(layer.get_losses_for(i)) for i in (x, None)] == [1, 1]
    assert [len(layer.get_updates_for(i)) for i in (x, None)] == [0, 1]
    model.compile(SGD(lr=0.0), None)
    assert model.train_on_batch(X, None) == pytest.approx(X.mean(), rel=1e-5)
    assert model.train_on_batch(X, None) == pytest.approx(X.mean() + 1, rel=1e-5)
    assert model.evaluate(X, None, verbose=0) == pytest.approx(X.mean() + 2, rel=1e-5)
    assert K.get_value(layer.calls) == 2, "testing updates nothing"
    layer.trainable = False
    assert layer.updates == []


# Networks


def test_running_the_inner_graph() -> None:
    a, b = Input((3,)), Input((3,))
    shared = Dense(2, kernel_initializer="ones")
    model = Model([a, b], [Add()([shared(a), shared(b)]), shared(a)])
    c, d = Input((3,)), Input((3,))
    outputs, masks, shapes = model.run_internal_graph([c, d])
    assert masks == [None, None] and shapes == [(None, 2), (None, 2)]
    found = K.function([c, d], outputs)([X, 2 * X])
    assert_allclose(found[0], 3 * X.sum(1, keepdims=True) * [[1, 1]], rtol=1e-5)
    assert_allclose(found[1], X.sum(1, keepdims=True) * [[1, 1]], rtol=1e-5)
    assert model.compute_output_shape([(7, 3), (7, 3)]) == [(7, 2), (7, 2)]
    assert model.call([c, d])[0] is outputs[0], "the same tensors again"


def test_masks_through_the_inner_graph() -> None:
    words = Input((5,), dtype="int32")
    model = Model(words, Embedding(9, 4, mask_zero=True)(words))
    outer = Input((5,), dtype="int32")
    model(outer)
    mask = model.compute_mask(outer, None)
    assert_array_equal(K.function([outer], [mask])([np.array([[1, 0, 2, 0, 0]])])[0], [[1, 0, 1, 0, 0]])


def test_the_parts_of_a_model() -> None:
    a, b = Input((3,), name="a"), Input((3,), name="b")
    d1, d2 = Dense(2, name="d1"), Dense(2, name="d2", trainable=False)
    model = Model([a, b], Add(name="sum")([d1(a), d2(b)]), name="whole")
    assert [layer.name for layer in model.layers] == ["a", "b", "d1", "d2", "sum"]
    assert model.get_layer("d2") is d2 is model.get_layer(index=3) and model.get_layer(index=0).name == "a"
    assert model.trainable_weights == d1.weights and model.non_trainable_weights == d2.weights
    assert model.weights == [*d1.weights, *d2.weights] and model.count_params() == 16
    assert model.input == [a, b] and model.output_shape == (None, 2) and model.input_shape == [(None, 3)] * 2
    assert model.input_names == ["a", "b"] and model.output_names == ["sum"]
    assert model._nodes_by_depth.keys() == model._layers_by_depth.keys() == {0, 1, 2}
    assert not model.stateful and model.uses_learning_phase is False and model.state_updates == []
    model.trainable = False
    assert model.trainable_weights == [] and model.non_trainable_weights == model.weights
    assert Model(a, Dropout(0.5)(d1(a))).uses_learning_phase


def test_stateful_models() -> None:
    model = Sequential([LSTM(3, stateful=True, batch_input_shape=(4, 2, 3)), Dense(1)])
    outer = Sequential([model])
    assert model.stateful and outer.stateful and len(model.state_updates) == len(outer.state_updates) == 2
    assert set(model.state_updates).isdisjoint(outer.state_updates)
    x = np.ones((4, 2, 3))
    first, second = model.predict(x, batch_size=4), model.predict(x, batch_size=4)
    assert (first != second).any()
    for either in (outer, model):
        outer.reset_states()
        assert_allclose(either.predict(x, batch_size=4), first, rtol=1e-6)
        assert_allclose(either.predict(x, batch_size=4), second, rtol=1e-6)
    model.layers[0].reset_states([np.ones((4, 3)), np.zeros((4, 3))])
    assert K.get_value(model.layers[0].states[0]).all()


def test_specs_of_inputs() -> None:
    model = Sequential([Dense(2, input_dim=3)])
    assert isinstance(model.input_spec, (InputSpec, list))
    x = Input((4, 3))
    for spec, message in (
        (InputSpec(ndim=2), "ndim=2"),
        (InputSpec(max_ndim=2), "max_ndim=2"),
        (InputSpec(min_ndim=4), "min_ndim=4"),
        (InputSpec(axes={-1: 5}), "axis -1"),
        (InputSpec(shape=(None, 4, 7)), "shape"),
        (InputSpec(dtype="int32"), "dtype"),
    ):
        layer = Layer()
        layer.input_spec = spec
        with pytest.raises(ValueError, match=message):
            layer(x)
    layer.input_spec = InputSpec(shape=(None, 4, 3), axes={1: 4}, dtype="float32")
    assert K.int_shape(layer(x)) == (None, 4, 3)


def test_clones() -> None:
    inner = Sequential([Dense(3, activation="tanh", input_dim=3), BatchNormalization()])
    x = Input((3,))
    shared = Dense(3)
    model = Model(x, Add()([inner(x), shared(shared(x))]))
    copy = clone_model(model)
    assert copy.get_config() == {**model.get_config(), "name": copy.name}
    assert all(a is not b for a, b in zip(copy.layers, model.layers, strict=True))
    assert not set(copy.weights) & set(model.weights) and len(copy.weights) == len(model.weights)
    copy.set_weights(model.get_weights())
    assert_allclose(copy.predict(X), model.predict(X), rtol=1e-6)
    there = Input((3,))
    on_a_tensor = clone_model(model, input_tensors=[there])
    on_a_tensor.set_weights(model.get_weights())
    assert_allclose(K.function([there], on_a_tensor.outputs)([X])[0], model.predict(X), rtol=1e-6)
    sequential = clone_model(inner)
    assert isinstance(sequential, Sequential) and sequential.count_params() == inner.count_params()
    with pytest.raises(ValueError, match="`model`"):
        clone_model("nonsense")


def test_popping_and_adding() -> None:
    model = Sequential([Dense(4, input_dim=3), Dense(5), Dense(6)])
    x = model.input
    model.pop()
    assert model.output_shape == (None, 5) and model.layers[-1]._outbound_nodes == []
    model.add(Dense(2, kernel_initializer="ones"))
    assert model.predict(X).shape == (4, 2) and model.input is x
    for _ in range(3):
        model.pop()
    assert model.layers == [] and not model.outputs
    with pytest.raises(TypeError, match="no layers"):
        model.pop()


def test_modules_under_keras_names() -> None:
    assert topology.Node is base_layer.Node is Node and topology.Layer is Layer is engine.Layer
    assert topology.Container is topology.Network is network.Network
    assert engine.Model is models.Model and engine.Input is layers.Input is Input
    assert issubclass(Model, network.Network) and issubclass(network.Network, Layer)
