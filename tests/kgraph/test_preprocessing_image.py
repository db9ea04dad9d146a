"""Changes of one image, image files, and what `ImageDataGenerator` does to an image."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen.cpu.image import BOUNDARIES, Warp, augment
from kgraph import backend as K
from kgraph.preprocessing import image

ndimage = pytest.importorskip("scipy.ndimage")
Image = pytest.importorskip("PIL.Image")
ImageEnhance = pytest.importorskip("PIL.ImageEnhance")

ROOT = Path(__file__).parents[2]
SHAPES = [(1, 1, 1), (1, 5, 3), (7, 1, 2), (2, 2, 4), (17, 13, 3), (31, 64, 1), (6, 5, 7)]
LAST = {"row_axis": 0, "col_axis": 1, "channel_axis": 2}


def pixels(*shape: int, seed: int = 0, dtype: Any = "float32") -> np.ndarray:
    return (np.random.RandomState(seed).rand(*shape) * 255).astype(dtype)


def by_scipy(x: np.ndarray, warp: Warp) -> np.ndarray:
    planes = [
        ndimage.affine_transform(
            x[..., k], warp.matrix, warp.offset, order=warp.order, mode=warp.boundary, cval=warp.cval
        )
        for k in range(x.shape[2])
    ]
    return np.stack(planes, axis=-1)


def warps(shape: tuple[int, ...], rng: np.random.RandomState) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ordinary ones, far ones, and such whose coordinates fall on the border exactly."""
    far = rng.randn(2, 2) * 5
    return [
        (np.eye(2) + 0.3 * rng.randn(2, 2), rng.randn(2)),
        (far, 100 * rng.randn(2)),
        (np.eye(2), np.zeros(2)),
        (np.array([[0.0, -1.0], [1.0, 0.0]]), np.array([shape[0] - 1.0, 0.0])),
        (np.diag([-1.0, 1.0]), np.array([shape[0] - 1.0, -0.5])),
        (np.diag([2.0, 0.5]), np.array([0.5, 0.0])),
    ]


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_warp_is_scipys(dtype: str, boundary: str, order: int) -> None:
    rng = np.random.RandomState(5)
    for shape in SHAPES:
        for matrix, offset in warps(shape, rng):
            x = pixels(*shape, dtype=dtype)
            warp = Warp(matrix, offset, order, boundary, cval=7.5)
            got = augment(x, (0, 1, 2), warp)
            np.testing.assert_allclose(got, by_scipy(x, warp), rtol=1e-6 if dtype == "float32" else 1e-12, atol=1e-10)
            assert got.dtype == x.dtype


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_everything_at_once_is_one_after_the_other(axes: tuple[int, int, int], channels: int) -> None:
    warp = Warp(np.array([[0.9, -0.2], [0.1, 1.1]]), np.array([0.7, -1.3]))
    bright = 1.4 if channels in (1, 3, 4) else None
    x = pixels(11, 6, channels) - 20
    expected = by_scipy(x, warp)
    expected = np.clip(expected + np.float32(30.5), expected.min(), expected.max())[:, ::-1]
    if bright:
        expected = brightened(expected, bright)
    expected = expected * np.float32(1 / 255)
    given = np.transpose(x, np.argsort(axes))
    before = given.copy()
    got = augment(given, axes, warp, [axes[1]], 30.5, bright, 1 / 255)
    difference = np.abs(got.transpose(axes) - expected)
    assert (difference > 3e-7).mean() < 0.01  # a value on the edge may fall to the next of 256 levels
    assert difference.max() < (1.5 * 1.4 / 255 if bright else 3e-7)
    np.testing.assert_array_equal(given, before)


def brightened(x: np.ndarray, factor: float) -> np.ndarray:
    """As Pillow does it."""
    levels = image.array_to_img(x, "channels_last")
    return np.asarray(ImageEnhance.Brightness(levels).enhance(factor), np.float32).reshape(x.shape)


@pytest.mark.parametrize("factor", [0.0, 0.37, 1.0, 1.9, 40.0])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_brightness_is_pillows(factor: float, channels: int, dtype: str) -> None:
    x = pixels(7, 9, channels, dtype=dtype)
    got = image.apply_brightness_shift(x, factor)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, brightened(x, factor))


def test_brightness_of_one_colour_and_of_wrong_channels() -> None:
    np.testing.assert_array_equal(image.apply_brightness_shift(np.full((2, 3, 3), 9.0), 1.5), np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="Unsupported channel number: 2"):
        image.apply_brightness_shift(np.zeros((2, 3, 2)), 1.5)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", ">f4"])
def test_other_dtypes_are_kept(dtype: str) -> None:
    x = pixels(6, 7, 3, dtype=dtype)
    got = image.apply_affine_transform(x, theta=20, zx=0.8)
    exact = image.apply_affine_transform(x.astype("float64"), theta=20, zx=0.8)
    assert got.dtype == x.dtype
    assert np.abs(got.astype("float64") - exact).max() <= (0.5 if x.dtype.kind in "iu" else 0.1)


@pytest.mark.parametrize(
    ("change", "matrix"),
    [
        ({"theta": 90}, [[0, -1, 7], [1, 0, 0], [0, 0, 1]]),
        ({"tx": 2, "ty": -1}, [[1, 0, 2], [0, 1, -1], [0, 0, 1]]),
        ({"zx": 2, "zy": 0.5}, [[2, 0, -3.5], [0, 0.5, 1.75], [0, 0, 1]]),
        ({"shear": 30}, [[1, -0.5, 1.75], [0, np.sqrt(3) / 2, 3.5 * (1 - np.sqrt(3) / 2)], [0, 0, 1]]),
    ],
)
def test_matrices_around_the_centre(change: dict[str, float], matrix: Any) -> None:
    """Of an image of 6x6 pixels, whose centre Keras takes to be at 3.5."""
    matrix = np.array(matrix, float)
    x = pixels(6, 6, 1, dtype="float64")
    expected = by_scipy(x, Warp(matrix[:2, :2], matrix[:2, 2]))
    np.testing.assert_allclose(image.apply_affine_transform(x, **change), expected, atol=1e-9)  # type: ignore[arg-type]


def test_neutral_arguments_give_the_image_itself() -> None:
    x = pixels(4, 5, 3)
    assert image.apply_affine_transform(x) is x
    assert image.ImageDataGenerator().random_transform(x) is x


def test_offset_centre() -> None:
    got = image.transform_matrix_offset_center(np.diag([2.0, 3.0, 1.0]), 5, 8)
    np.testing.assert_allclose(got, [[2, 0, -3.0], [0, 3, -9.0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channel_axis": 1}, "must be 0, 1 and 2 in some order"),
        ({"fill_mode": "foo"}, "unknown fill_mode 'foo'"),
        ({"order": 9}, "interpolation order must be from 0 to 5"),
        ({"zx": np.inf}, "of finite and sensible size"),
        ({"tx": np.nan}, "of finite and sensible size"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image.apply_affine_transform(pixels(4, 5, 3), **{"theta": 10, **arguments})


def test_bad_rank_and_empty_images() -> None:
    with pytest.raises(ValueError, match="rank 3. Received shape: \\(2, 3\\)"):
        image.apply_affine_transform(np.zeros((2, 3)), theta=1)
    assert image.apply_affine_transform(np.zeros((0, 3, 3)), theta=1).shape == (0, 3, 3)


def test_splines_come_from_scipy() -> None:
    x = pixels(9, 8, 3, dtype="float64")
    matrix = image.transform_matrix_offset_center(np.diag([0.5, 0.5, 1.0]), 9, 8)
    expected = by_scipy(x, Warp(matrix[:2, :2], matrix[:2, 2], order=3, boundary="reflect"))
    got = image.apply_affine_transform(x, zx=0.5, zy=0.5, order=3, fill_mode="reflect")
    np.testing.assert_allclose(got, expected)


def test_random_functions_draw_as_keras_does() -> None:
    x = pixels(5, 7, 3)
    np.random.seed(3)
    draws = np.random.uniform(-1, 1, 3), np.random.uniform(0.5, 1.5, 2)
    np.random.seed(3)
    rotated = image.random_rotation(x, 30, **LAST)
    np.testing.assert_array_equal(rotated, image.apply_affine_transform(x, theta=30 * draws[0][0]))
    shifted = image.random_shift(x, 0.2, 0.3, **LAST)
    expected = image.apply_affine_transform(x, tx=0.3 * draws[0][1] * 5, ty=0.2 * draws[0][2] * 7)
    np.testing.assert_allclose(shifted, expected, rtol=1e-4)
    zoomed = image.random_zoom(x, (0.5, 1.5), **LAST)
    np.testing.assert_allclose(zoomed, image.apply_affine_transform(x, zx=draws[1][0], zy=draws[1][1]), rtol=1e-4)
    np.random.seed(3)
    sheared = image.random_shear(x, 20, **LAST)
    np.testing.assert_allclose(sheared, image.apply_affine_transform(x, shear=20 * draws[0][0]), rtol=1e-4)
    np.random.seed(3)
    brighter = image.random_brightness(x, (0.5, 1.5))
    np.testing.assert_array_equal(brighter, image.apply_brightness_shift(x, 1 + draws[0][0] / 2))
    np.random.seed(3)
    tinted = image.random_channel_shift(x, 20.0, 2)
    np.testing.assert_allclose(tinted, np.clip(x + np.float32(20 * draws[0][0]), x.min(), x.max()), rtol=1e-5)
    for function, argument in ((image.random_zoom, (1,)), (image.random_brightness, (1,))):
        with pytest.raises(ValueError, match="should be .*tuple or list of two floats"):
            function(x, argument)


# Known outcomes of Keras 2.2.4: sums, and sums weighted by place, for seed 5 and these options.

EVERYTHING: dict[str, Any] = {
    "rotation_range": 30,
    "width_shift_range": 0.2,
    "height_shift_range": [1, 2],
    "brightness_range": (0.5, 1.5),
    "shear_range": 10,
    "zoom_range": 0.2,
    "channel_shift_range": 30,
    "horizontal_flip": True,
    "vertical_flip": True,
    "rescale": 1 / 255.0,
}


def test_a_seeded_script_repeats_what_keras_did() -> None:
    generator = image.ImageDataGenerator(**EVERYTHING)
    np.random.seed(7)
    batches = generator.flow(np.random.RandomState(1).rand(7, 6, 5, 3) * 255, np.arange(7), batch_size=3, seed=5)
    expected = [
        (126.6549, 13950.291, [6, 2, 4]),
        (133.0784, 16496.683, [1, 0, 5]),
        (40.4196, 1736.118, [3]),
        (132.7216, 15525.087, [2, 0, 6]),
    ]
    for total, weighted, labels in expected:
        x, y = next(batches)
        values = x.astype("float64").ravel()
        assert y.tolist() == labels
        np.testing.assert_allclose([values.sum(), values @ np.arange(values.size)], [total, weighted], rtol=1e-5)
    assert generator.get_random_transform((5, 6, 3), seed=3) == {
        "theta": 3.0478741544745276,
        "tx": 2,
        "ty": -0.5018286266089337,
        "shear": 0.2165521039532603,
        "zx": 1.157178781739062,
        "zy": 1.1585172355733753,
        "flip_horizontal": 1,
        "flip_vertical": 1,
        "channel_shift_intensity": -26.911967801950208,
        "brightness": 0.9408098436506365,
    }


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_pass_gives_the_same_bits_as_two(data_format: str, dtype: str) -> None:
    generator = image.ImageDataGenerator(**EVERYTHING, data_format=data_format, dtype=dtype)
    x = pixels(9, 8, 3, dtype=dtype)
    x = x if data_format == "channels_last" else x.transpose(2, 0, 1)
    changes = generator.get_random_transform(x.shape, seed=2)
    expected = generator.standardize(generator.apply_transform(x, changes))
    np.testing.assert_array_equal(generator.prepare(x, changes), expected)


def test_channels_first_is_channels_last_transposed() -> None:
    x = pixels(9, 8, 3)
    last, first = (image.ImageDataGenerator(**EVERYTHING, data_format=f"channels_{w}") for w in ("last", "first"))
    expected = last.random_transform(x, seed=4)
    np.testing.assert_array_equal(first.random_transform(x.transpose(2, 0, 1), seed=4), expected.transpose(2, 0, 1))


def test_users_own_methods_and_functions_are_called() -> None:
    class Mine(image.ImageDataGenerator):
        def standardize(self, x: np.ndarray) -> np.ndarray:
            return x + 1

    x = np.ones((2, 3, 4, 3))
    np.testing.assert_array_equal(Mine(rescale=7.0).flow(x)[0], np.full(x.shape, 2.0))
    generator = image.ImageDataGenerator(preprocessing_function=lambda image: image - 3, rescale=2.0)
    np.testing.assert_array_equal(generator.flow(x)[0], np.full(x.shape, -4.0))


def test_shifts_by_fractions_pixels_and_lists() -> None:
    def drawn(choices: Any) -> set[float]:
        generator = image.ImageDataGenerator(height_shift_range=choices)
        return {float(generator.get_random_transform((20, 30, 3), seed)["tx"]) for seed in range(60)}

    assert drawn(3) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    assert drawn([4, 7]) == {-7.0, -4.0, 4.0, 7.0}
    assert drawn([0.1, 0.5]) == {-10.0, -2.0, 2.0, 10.0}
    assert drawn(np.array([4, 7])) == drawn([4, 7])
    assert len(drawn(0.25)) == 60 and max(map(abs, drawn(0.25))) <= 5
    assert len(drawn(2.5)) == 60 and max(map(abs, drawn(2.5))) <= 2.5
    assert drawn(0.0) == {0.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data_format": "x"}, "`data_format` should be"),
        ({"validation_split": 1}, "strictly between 0 and 1"),
        ({"zoom_range": (1, 2, 3)}, "`zoom_range` should be a float or a tuple or list of two floats"),
        ({"zoom_range": "a"}, "`zoom_range` should be"),
        ({"brightness_range": 0.5}, "`brightness_range` should be tuple or list of two floats"),
    ],
)
def test_bad_options(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image.ImageDataGenerator(**arguments)


def test_options_that_imply_others() -> None:
    with pytest.warns(UserWarning, match="`zca_whitening`, which overrides setting of `featurewise_center`"):
        assert image.ImageDataGenerator(zca_whitening=True).featurewise_center
    with pytest.warns(UserWarning, match="overrides setting of `featurewise_std_normalization`"):
        generator = image.ImageDataGenerator(True, featurewise_std_normalization=True, zca_whitening=True)
        assert not generator.featurewise_std_normalization
    with pytest.warns(UserWarning, match="overrides setting of `samplewise_center`"):
        assert image.ImageDataGenerator(samplewise_std_normalization=True).samplewise_center


def test_normalisation() -> None:
    x = pixels(20, 3, 4, 3, dtype="float64")
    scaled = (x / 255).astype("float32")
    generator = image.ImageDataGenerator(True, featurewise_std_normalization=True, rescale=1 / 255.0)
    generator.fit(x)
    mean, std = scaled.mean((0, 1, 2)), scaled.std((0, 1, 2))
    assert generator.mean.shape == generator.std.shape == (1, 1, 3)
    expected = (scaled[0] - mean) / (std + 1e-6)
    np.testing.assert_allclose(generator.standardize(x[0].astype("float32")), expected, rtol=1e-4, atol=1e-5)
    sample = image.ImageDataGenerator(samplewise_center=True, samplewise_std_normalization=True)
    got = sample.standardize(x[0].astype("float32"))
    np.testing.assert_allclose(got, (x[0] - x[0].mean()) / x[0].std(), rtol=1e-4, atol=1e-5)


def test_whitening_decorrelates() -> None:
    x = np.random.RandomState(1).rand(300, 2, 2, 3) @ np.random.RandomState(2).rand(3, 3)
    with pytest.warns(UserWarning, match="overrides"):
        generator = image.ImageDataGenerator(zca_whitening=True, dtype="float64")
    generator.fit(x)
    flat = np.stack([generator.standardize(image) for image in x.copy()]).reshape(300, -1)
    np.testing.assert_allclose(flat.T @ flat / 300, np.eye(12), atol=1e-2)
    np.testing.assert_allclose(generator.principal_components, generator.principal_components.T, atol=1e-8)


def test_fit_on_changed_images_and_bad_input() -> None:
    generator = image.ImageDataGenerator(featurewise_center=True, rotation_range=20, horizontal_flip=True)
    x = np.random.RandomState(1).rand(20, 4, 4, 3) * 255
    before = x.copy()
    generator.fit(x, augment=True, rounds=2, seed=3)
    np.random.seed(3)
    changed = [generator.random_transform(one) for _ in range(2) for one in x.astype("float32")]
    np.testing.assert_allclose(generator.mean.ravel(), np.mean(changed, axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(x, before)
    with pytest.raises(ValueError, match="should have rank 4. Got array with shape: \\(4, 4, 3\\)"):
        generator.fit(x[0])
    with pytest.warns(UserWarning, match="2 channels"):
        generator.fit(x[..., :2])


def test_what_needs_fit_says_so() -> None:
    generator = image.ImageDataGenerator(featurewise_center=True)
    with pytest.warns(UserWarning, match="`featurewise_center`, but it hasn't been fit on any training data"):
        generator.standardize(pixels(2, 2, 3))


# Files


def test_conversion_there_and_back() -> None:
    x = pixels(4, 5, 3, dtype="uint8").astype("float32")
    x[0, 0] = [0, 255, 7]
    np.testing.assert_array_equal(image.img_to_array(image.array_to_img(x)), x)
    first = image.img_to_array(image.array_to_img(x), "channels_first", "float64")
    np.testing.assert_array_equal(first, x.transpose(2, 0, 1))
    assert first.dtype == np.float64
    assert image.array_to_img(first, "channels_first").size == (5, 4)
    assert image.img_to_array(np.zeros((4, 5))).shape == (4, 5, 1)
    gray = image.array_to_img(x[..., :1])
    assert gray.mode == "L" and image.img_to_array(gray).shape == (4, 5, 1)
    assert image.array_to_img(x[..., :1] + 300, scale=False).mode == "I"
    assert image.array_to_img(np.zeros((2, 2, 4))).mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(image.array_to_img(x[:1, :1] * 0.4 + 3))[0, 0], [0, 255, 7])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: image.array_to_img(np.zeros((2, 2))), "rank 3 \\(single image\\). Got array with shape: \\(2, 2\\)"),
        (lambda: image.array_to_img(np.zeros((2, 2, 2))), "Unsupported channel number: 2"),
        (lambda: image.array_to_img(np.zeros((2, 2, 3)), "x"), "Invalid data_format: x"),
        (lambda: image.img_to_array(np.zeros((2, 2, 3)), "x"), "Unknown data_format: x"),
        (lambda: image.img_to_array(np.zeros((1, 2, 2, 3))), "Unsupported image shape: \\(1, 2, 2, 3\\)"),
    ],
)
def test_bad_conversions(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_configured_data_format_and_dtype() -> None:
    K.set_image_data_format("channels_first")
    K.set_floatx("float64")
    try:
        got = image.img_to_array(Image.new("RGB", (5, 4)))
        generator = image.ImageDataGenerator()
    finally:
        K.set_image_data_format("channels_last")
        K.set_floatx("float32")
    assert got.shape == (3, 4, 5) and got.dtype == np.float64
    assert (generator.channel_axis, generator.row_axis, generator.col_axis, generator.dtype) == (1, 2, 3, "float64")


def test_load_and_save(tmp_path: Path) -> None:
    x = pixels(4, 6, 3, dtype="uint8")
    path = tmp_path / "x.png"
    image.save_img(path, x, scale=False)
    np.testing.assert_array_equal(image.img_to_array(image.load_img(path)), x)
    assert image.load_img(path, color_mode="rgba").mode == "RGBA"
    with pytest.warns(UserWarning, match='Please use color_mode = "grayscale"'):
        assert image.load_img(path, grayscale=True).mode == "L"
    for name in ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos"):
        small = image.load_img(path, target_size=(2, 5), interpolation=name)
        expected = Image.open(path).resize((5, 2), getattr(Image.Resampling, name.upper()))
        np.testing.assert_array_equal(np.asarray(small), np.asarray(expected))
    image.save_img(tmp_path / "other", x, file_format="jpeg")
    with pytest.warns(UserWarning, match="converting to RGB"):
        image.save_img(tmp_path / "y.jpg", np.ones((3, 3, 4)), file_format="jpg")
    stream = io.BytesIO()
    image.save_img(stream, x, file_format="png", scale=False)
    assert stream.getvalue().startswith(b"\x89PNG")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other", "x.png", "y.jpg"]
    wide = np.array([[0, 40000], [7, 65535]], "uint16")
    Image.fromarray(wide).save(tmp_path / "wide.png")
    np.testing.assert_array_equal(
        image.img_to_array(image.load_img(tmp_path / "wide.png", color_mode="grayscale"))[..., 0], wide
    )


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(OSError, match="x.png' cannot be read as an image"):
        image.load_img(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError, match="nothing.png"):
        image.load_img(str(tmp_path / "nothing.png"))
    with pytest.raises(ValueError, match='color_mode must be "grayscale", "rgb", or "rgba"'):
        image.load_img(tmp_path / "x.png", color_mode="x")
    image.save_img(tmp_path / "y.png", np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="Invalid interpolation method foo specified. Supported methods are nearest"):
        image.load_img(tmp_path / "y.png", target_size=(3, 3), interpolation="foo")


def test_list_pictures(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("x.png", "a/y.JPG", "a/z.txt", "xpng"):
        (tmp_path / name).write_bytes(b"")
    assert sorted(image.list_pictures(tmp_path)) == [str(tmp_path / "a/y.JPG"), str(tmp_path / "x.png")]
    assert image.list_pictures(tmp_path, "txt|ppm") == [str(tmp_path / "a/z.txt")]


def test_without_pillow_and_numba() -> None:
    """The kernel is loaded from the cache; what needs Pillow says how to get it."""
    code = """
import sys
sys.modules["PIL"] = sys.modules["PIL.Image"] = sys.modules["scipy"] = None
import numpy as np
from kgraph.preprocessing import image
x = np.ones((5, 5, 3), "float32")
image.ImageDataGenerator(rotation_range=20, brightness_range=(0.5, 1)).random_transform(x, seed=1)
assert "numba" not in sys.modules
for call in (lambda: image.load_img("x.png"), lambda: image.array_to_img(x), lambda: image.random_zoom(
        x, (0.5, 1), 0, 1, 2, interpolation_order=3)):
    try:
        call()
    except ImportError as error:
        print(error)
"""
    image.ImageDataGenerator(rotation_range=20).random_transform(pixels(5, 5, 3), seed=1)  # compiles, if need be
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "`load_img` needs Pillow, which is not installed: pip install 'kgraph[image]'"
    assert lines[1].startswith("`array_to_img` needs Pillow")
    assert lines[2].startswith("interpolation order 3 with fill_mode 'nearest' needs SciPy")
