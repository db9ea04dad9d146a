"""The networks of `kgraph.applications`: layers, weights and predictions as Keras 2.2.4 has them.

`tests/data/applications/layers.json` holds each network's layers (name, class, shape of the output, shapes of the
weights) with its classifier and without; `predictions.npz` what real Keras (VGG16, ResNet50, MobileNet, DenseNet121) or
tf_keras (the others) predicted with the weights that `hashed_weights` makes.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kgraph import applications, initializers, layers, models
from kgraph import backend as K
from kgraph.applications import imagenet_utils, request
from kgraph.engine.training import Model

DATA = Path(__file__).parents[1] / "data" / "applications"
NETWORKS = json.loads((DATA / "layers.json").read_text(encoding="utf-8"))
PREDICTIONS = np.load(DATA / "predictions.npz")

IMAGENET = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"


@pytest.fixture(autouse=True)
def clean_session() -> Iterator[None]:
    """Names count from 1, and the data format is the default again afterwards."""
    K.clear_session()
    yield
    K.set_image_data_format("channels_last")


@pytest.fixture
def zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights begin as zeros: where their values do not matter, large networks are made in less time."""
    monkeypatch.setattr("kgraph.engine.base_layer.initializers.get", lambda _: initializers.Zeros())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of downloaded models, without a network."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("KGRAPH_MIRROR", str(tmp_path / "nothing"))
    (tmp_path / "keras" / "models").mkdir(parents=True)
    return tmp_path / "keras" / "models"


def images(size: int, count: int = 2) -> np.ndarray:
    waves = np.sin(np.arange(count * size * size * 3) * 0.37)
    return waves.reshape(count, size, size, 3).astype(np.float32)


# Architectures


@pytest.mark.filterwarnings("ignore:MobileNet shape is undefined", "ignore:The output shape of `ResNet50")
@pytest.mark.parametrize("top", ["top", "no_top"])
@pytest.mark.parametrize("key", NETWORKS)
def test_layers_and_weights(key: str, top: str, zeros: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(request, "get_file", lambda *args, **kwargs: asked.append((args, kwargs)) or "the file")
    monkeypatch.setattr(Model, "load_weights", lambda self, path: asked.append(path))
    name, _, alpha = key.partition("_alpha")
    options = {"alpha": float(alpha)} if alpha else {}
    model = getattr(applications, name)(include_top=top == "top", **options)

    expected = NETWORKS[key][top]
    assert model.name == expected["name"].replace("None", "224")
    assert model.input_names == expected["inputs"] and model.output_names == expected["outputs"]
    found = [
        [x.name, type(x).__name__, list(x.output_shape[1:]), [list(K.int_shape(w)) for w in x.weights]]
        for x in model.layers
    ]
    assert found == expected["layers"]
    assert model.count_params() == expected["total_params"]
    trainable = sum(int(np.prod(K.int_shape(w))) for w in model.trainable_weights)
    assert trainable == expected["trainable_params"]

    ((file, url), options), loaded = asked
    assert loaded == "the file" and url.startswith("https://github.com/")
    wanted = expected["weight_file"]
    assert (file, options["file_hash"], options["cache_subdir"]) == (
        wanted["file"], wanted["md5"], wanted["cache_subdir"]
    )  # fmt: skip


def hashed_weights(model: Any) -> list[np.ndarray]:
    """Weights that any library can make: a hash of each element's number, scaled by the kind of the weight."""
    named = [(layer, w) for layer in model.layers for w in layer.weights]
    return [_hashed(i, layer, w) for i, (layer, w) in enumerate(named)]


def _hashed(i: int, layer: Any, weight: Any) -> np.ndarray:
    shape, kind = K.int_shape(weight), weight.name.split("/")[-1].split(":")[0]
    k = np.arange(np.prod(shape), dtype=np.uint32)
    with np.errstate(over="ignore"):
        h = (k + np.uint32(1) + np.uint32(i * 1000003)) * np.uint32(2654435761)
        h = (h ^ (h >> np.uint32(16))) * np.uint32(2246822519)
    v = ((h ^ (h >> np.uint32(13))) / 2.0**31 - 1).reshape(shape)
    if kind == "moving_variance":
        v = 1 + 0.1 * abs(v)
    elif kind == "gamma":
        v = 1 + 0.1 * v
    elif kind == "depthwise_kernel":
        v *= np.sqrt((6 if isinstance(layer, layers.DepthwiseConv2D) else 3) / (shape[0] * shape[1]))
    elif kind.endswith("kernel"):
        v *= np.sqrt(6 / np.prod(shape[:-1]))
    else:
        v *= 0.1
    return v.astype(np.float32)


@pytest.mark.parametrize("name", [k for k in PREDICTIONS if "_" not in k])
def test_predictions(name: str) -> None:
    size = int(PREDICTIONS[f"{name}_input_size"])
    network = getattr(applications, name)
    model = network(include_top=False, weights=None, pooling="avg", input_shape=(size, size, 3))
    weights = hashed_weights(model)
    assert len(weights) == PREDICTIONS[f"{name}_weights"]
    model.set_weights(weights)
    expected = PREDICTIONS[name]
    error = abs(model.predict(images(size)) - expected).max() / abs(expected).max()
    assert error < 1e-4


@pytest.mark.parametrize("name", ["MobileNet", "VGG16"])
def test_channels_first_agrees(name: str) -> None:
    network = getattr(applications, name)
    last = network(input_shape=(32, 32, 3), weights=None, classes=7)
    K.set_image_data_format("channels_first")
    first = network(input_shape=(3, 32, 32), weights=None, classes=7)
    first.set_weights(last.get_weights())
    found = first.predict(images(32).transpose(0, 3, 1, 2))
    np.testing.assert_allclose(found, last.predict(images(32)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["ResNet50", "DenseNet121", "InceptionV3", "InceptionResNetV2", "Xception", "MobileNetV2", "NASNetMobile"]
)
def test_channels_first_shapes(name: str, zeros: None) -> None:
    K.set_image_data_format("channels_first")
    model = getattr(applications, name)(include_top=False, weights=None, input_shape=(3, 96, 107), pooling="avg")
    K.clear_session()
    K.set_image_data_format("channels_last")
    expected = getattr(applications, name)(include_top=False, weights=None, input_shape=(96, 107, 3), pooling="avg")
    for found, wanted in zip(model.layers, expected.layers, strict=True):
        shape = wanted.output_shape[1:]
        assert found.output_shape[1:] == (shape[-1], *shape[:-1]), found.name


def test_configs_that_numbers_depend_on(zeros: None) -> None:
    norms = {"DenseNet121": (1.001e-5, 0.99), "MobileNetV2": (1e-3, 0.999), "NASNetMobile": (1e-3, 0.9997)}
    for name, (epsilon, momentum) in norms.items():
        model = getattr(applications, name)(include_top=False, weights=None, input_shape=(32, 32, 3))
        found = {(x.epsilon, x.momentum) for x in model.layers if isinstance(x, layers.BatchNormalization)}
        assert found == {(epsilon, momentum)}, name
    relus = [x for x in applications.MobileNet(weights=None).layers if isinstance(x, layers.ReLU)]
    assert {float(x.max_value) for x in relus} == {6.0}


def test_a_network_with_lambdas_survives_json(zeros: None) -> None:
    model = applications.InceptionResNetV2(include_top=False, weights=None, input_shape=(75, 75, 3))
    copy = models.model_from_json(model.to_json())
    assert [x.get_config() for x in copy.layers] == [x.get_config() for x in model.layers]


def test_a_pretrained_network_below_a_classifier_of_ones_own() -> None:
    base = applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    base.trainable = False
    model = models.Sequential([base, layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy")
    before = base.get_weights()
    first = model.train_on_batch(images(32), np.eye(3)[[0, 2]])
    assert model.train_on_batch(images(32), np.eye(3)[[0, 2]]) < first
    for new, old in zip(base.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)


# Inputs


def test_input_tensor() -> None:
    small = {"include_top": False, "weights": None}
    given = layers.Input((40, 48, 3))
    assert applications.VGG16(input_tensor=given, **small).inputs == [given]

    doubled = layers.Lambda(lambda x: 2 * x)(given)
    model = applications.VGG16(input_tensor=doubled, **small)
    assert model.inputs == [given] and model.output_shape == (None, 1, 1, 512)

    model = applications.VGG16(input_tensor=K.placeholder((None, 64, 64, 3)), input_shape=(64, 64, 3), **small)
    assert model.output_shape == (None, 2, 2, 512)

    sized = applications.MobileNetV2(input_tensor=layers.Input((96, 96, 3)), include_top=True, weights=None)
    assert sized.output_shape == (None, 1000)
    with pytest.raises(ValueError, match="do not meet the same shape"):
        applications.MobileNetV2(input_tensor=given, input_shape=(64, 64, 3), **small)


def test_names_follow_sizes() -> None:
    small = {"include_top": False, "weights": None}
    assert applications.MobileNet(**small).name == "mobilenet_1.00_None"
    assert applications.MobileNetV2(input_shape=(64, 96, 3), alpha=0.35, **small).name == "mobilenetv2_0.35_64"


@pytest.mark.parametrize("pooling", [None, "avg", "max"])
def test_pooling(pooling: str | None, zeros: None) -> None:
    model = applications.DenseNet121(include_top=False, weights=None, input_shape=(32, 32, 3), pooling=pooling)
    assert model.output_shape == ((None, 1024) if pooling else (None, 1, 1, 1024))
    assert model.layers[-1].name == {None: "relu", "avg": "avg_pool", "max": "max_pool"}[pooling]


def test_options_of_mobilenet() -> None:
    model = applications.MobileNet(
        (64, 64, 1), alpha=0.3, depth_multiplier=2, dropout=0.5, weights=None, pooling="avg", classes=4
    )
    assert model.output_shape == (None, 4)
    assert model.get_layer("conv1").filters == 9 and model.get_layer("dropout").rate == 0.5
    assert model.get_layer("conv_dw_1").output_shape == (None, 32, 32, 18)


@pytest.mark.parametrize(
    ("asked", "data_format", "flatten", "weights", "expected"),
    [
        (None, "channels_last", True, None, (224, 224, 3)),
        (None, "channels_first", True, None, (3, 224, 224)),
        (None, "channels_last", False, "imagenet", (None, None, 3)),
        (None, "channels_first", False, None, (3, None, None)),
        ((224, 224, 3), "channels_last", True, "imagenet", (224, 224, 3)),
        ([40, 32, 1], "channels_last", True, None, (40, 32, 1)),
        ((None, 50, 3), "channels_last", False, None, (None, 50, 3)),
        ((139, 150, 3), "channels_last", False, "imagenet", (139, 150, 3)),
        ((3, None, None), "channels_first", False, "imagenet", (3, None, None)),
    ],
)
def test_input_shapes(asked: Any, data_format: str, flatten: bool, weights: Any, expected: Any) -> None:
    assert imagenet_utils._obtain_input_shape(asked, 224, 32, data_format, flatten, weights) == expected


@pytest.mark.parametrize(
    ("asked", "data_format", "flatten", "weights", "message"),
    [
        ((200, 200, 3), "channels_last", True, "imagenet", r"`input_shape` should be \(224, 224, 3\)\."),
        ((32, 31, 3), "channels_last", False, None, r"at least 32x32; got `input_shape=\(32, 31, 3\)`"),
        ((3, 31, 32), "channels_first", True, None, r"at least 32x32; got `input_shape=\(3, 31, 32\)`"),
        ((64, 64, 1), "channels_last", False, "imagenet", r"must have 3 channels; got `input_shape=\(64, 64, 1\)`"),
        ((64, 64), "channels_last", False, None, "must be a tuple of three integers"),
        ((None, None, 3), "channels_last", True, None, r"static `input_shape`. Got `input_shape=\(None, None, 3\)`"),
    ],
)
def test_input_shapes_that_do_not_fit(
    asked: Any, data_format: str, flatten: bool, weights: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        imagenet_utils._obtain_input_shape(asked, 224, 32, data_format, flatten, weights)


def test_unusual_channels_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="an input_shape with 4 input channels"):
        assert imagenet_utils._obtain_input_shape((32, 32, 4), 224, 32, "channels_last", True) == (32, 32, 4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ResNet50", {"weights": "nowhere.h5"}, "The `weights` argument should be either"),
        ("NASNetMobile", {"classes": 10}, "`classes` should be 1000"),
        ("MobileNet", {"alpha": 0.4}, "alpha can be one of`? ?.*0.25"),
        ("MobileNet", {"depth_multiplier": 2}, "depth multiplier must be 1"),
        ("MobileNetV2", {"alpha": 0.25}, "`1.3` or `1.4` only"),
        ("NASNetLarge", {"input_shape": (None, None, 3)}, "must be static"),
        ("Xception", {"weights": None, "input_shape": (70, 71, 3)}, "at least 71x71"),
        ("InceptionV3", {"weights": None, "input_shape": (75, 74, 3)}, "at least 75x75"),
    ],
)
def test_arguments_that_do_not_fit(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(applications, name)(**options)


# Weights


def test_weights_of_a_file(tmp_path: Path) -> None:
    options: dict[str, Any] = {"include_top": False, "input_shape": (32, 32, 3)}
    made = applications.DenseNet121(weights=None, **options)  # some of its layers have slashes in their names
    made.save_weights(str(tmp_path / "mine.h5"))
    loaded = applications.DenseNet121(weights=str(tmp_path / "mine.h5"), **options)
    for found, expected in zip(loaded.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_published_weights_come_from_the_cache(cache: Path) -> None:
    made = applications.MobileNet((128, 128, 3), alpha=0.25, weights=None)
    made.save_weights(str(cache / "mobilenet_2_5_128_tf.h5"))
    loaded = applications.MobileNet((128, 128, 3), alpha=0.25)
    for found, expected in zip(loaded.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_without_a_network_the_error_says_where_to_put_the_file(cache: Path) -> None:
    with pytest.raises(Exception, match="URL fetch failure") as raised:
        applications.MobileNetV2(alpha=0.35)
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224.h5"
    assert f"/JonathanCMitchell/mobilenet_v2_keras/releases/download/v1.1/{name}" in str(raised.value)
    assert f"put it as '{name}' into {cache}" in str(raised.value)


def test_weights_for_another_size_are_warned_of(cache: Path) -> None:
    with pytest.warns(UserWarning, match=r"Weights for input shape \(224, 224\) will be loaded"):
        with pytest.raises(Exception, match="mobilenet_2_5_224_tf_no_top.h5"):
            applications.MobileNet((64, 64, 3), alpha=0.25, include_top=False)


# Images and classes


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_preprocess_input(mode: str, data_format: str) -> None:
    x = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3))
    wide = x.astype(np.float64)
    if mode == "tf":
        expected = wide / 127.5 - 1
    elif mode == "torch":
        expected = (wide / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    else:
        expected = wide[..., ::-1] - [103.939, 116.779, 123.68]
    if data_format == "channels_first":
        x, expected = x.transpose(0, 3, 1, 2), expected.transpose(0, 3, 1, 2)
    close = {"rtol": 1e-5, "atol": 1e-4}
    single = x.astype(np.float32)
    symbolic = imagenet_utils.preprocess_input(K.constant(single), data_format, mode)
    np.testing.assert_allclose(K.eval(symbolic), expected, **close)
    one = imagenet_utils.preprocess_input(single[0].copy(), data_format=data_format, mode=mode)
    np.testing.assert_allclose(one, expected[0], **close)
    found = imagenet_utils.preprocess_input(single, data_format, mode)
    assert found.dtype == np.float32 and np.shares_memory(found, single)  # in place, as Keras has it
    np.testing.assert_allclose(found, expected, **close)


def test_images_of_integers_are_left_alone() -> None:
    x = np.full((1, 2, 2, 3), 255, np.uint8)
    found = imagenet_utils.preprocess_input(x, mode="tf")
    assert found.dtype == np.float32 and (found == 1).all() and (x == 255).all()


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("vgg16", [-103.939, -116.779, -123.68]),
        ("resnet50", [-103.939, -116.779, -123.68]),
        ("densenet", [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]),
        ("inception_v3", [-1, -1, -1]),
        ("inception_resnet_v2", [-1, -1, -1]),
        ("xception", [-1, -1, -1]),
        ("mobilenet", [-1, -1, -1]),
        ("mobilenet_v2", [-1, -1, -1]),
        ("nasnet", [-1, -1, -1]),
    ],
)
def test_each_network_has_its_mode(module: str, expected: list[float]) -> None:
    found = importlib.import_module(f"kgraph.applications.{module}").preprocess_input(np.zeros((1, 1, 3)))
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6)


def test_preprocess_input_refuses() -> None:
    with pytest.raises(ValueError, match="Unknown data_format channels_middle"):
        imagenet_utils.preprocess_input(np.zeros((1, 1, 3)), "channels_middle")
    with pytest.raises(ValueError, match="Unknown mode 'torchvision'"):
        imagenet_utils.preprocess_input(np.zeros((1, 1, 3)), mode="torchvision")


def test_decode_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({str(i): [f"n{i:08}", f"class {i}"] for i in range(1000)}))
    asked: list[Any] = []
    monkeypatch.setattr(imagenet_utils, "get_file", lambda *args, **kw: asked.append((args, kw)) or str(file))
    predictions = np.zeros((2, 1000), np.float32)
    predictions[0, [5, 6, 7]] = 0.25, 0.5, 0.125
    predictions[1, 999] = 1.0
    first, second = imagenet_utils.decode_predictions(predictions, top=3)
    assert first == [("n00000006", "class 6", 0.5), ("n00000005", "class 5", 0.25), ("n00000007", "class 7", 0.125)]
    assert second[0] == ("n00000999", "class 999", 1.0)
    assert [len(x) for x in imagenet_utils.decode_predictions(predictions)] == [5, 5]
    (name, url), options = asked[0]
    assert (name, url) == ("imagenet_class_index.json", IMAGENET)
    assert options == {"cache_subdir": "models", "file_hash": "c2c37ea517e94d9795004a39431a14cb"}


def test_decode_predictions_refuses_other_shapes(cache: Path) -> None:
    for shape in ((1000,), (1, 10), (1, 1, 1000)):
        with pytest.raises(ValueError, match=r"\(samples, 1000\)"):
            imagenet_utils.decode_predictions(np.zeros(shape))
    with pytest.raises(Exception, match="put it as 'imagenet_class_index.json' into"):
        imagenet_utils.decode_predictions(np.zeros((1, 1000)))


def test_modules_for_other_packages() -> None:
    @applications.keras_modules_injection
    def network(size: int, **modules: Any) -> Any:
        return size, modules

    size, modules = network(3, utils=None)
    assert size == 3 and modules["layers"] is layers and modules["backend"] is K and modules["models"] is models
    assert modules["utils"] is None and network.__name__ == "network"
