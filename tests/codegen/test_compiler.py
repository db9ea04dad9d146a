"""Compiling kernels: what vectorises, what may alias, which mistakes get which message, and the words kernels are
written with.
"""

from __future__ import annotations

import platform

import numpy as np
import pytest

from codegen.cache import KernelCache
from codegen.compiler import assembly, compile_kernel, is_library_function
from codegen.source import FACTORIES, Kernel, KernelError
from tests.codegen.kernels import apply, elementwise, run, slots_of, vector_instructions

x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
rng = np.random.default_rng(0)

ADAM = Kernel(
    "adam",
    """
def kernel(args, lo, hi, worker):
    a = slots(args)
    p, g, m, v = f32p(a[0]), f32p(a[1]), f32p(a[2]), f32p(a[3])
    p1, m1, v1 = f32p(a[4]), f32p(a[5]), f32p(a[6])
    rate, beta1, beta2, epsilon = f32_bits(a[7]), f32_bits(a[8]), f32_bits(a[9]), f32_bits(a[10])
    for i in range(lo * a[11], min(hi * a[11], a[12])):
        gi = load(g, i)
        mi = beta1 * load(m, i) + (f32(1) - beta1) * gi
        vi = beta2 * load(v, i) + (f32(1) - beta2) * gi * gi
        store(p1, i, load(p, i) - rate * mi / (sqrt(vi) + epsilon))
        store(m1, i, mi)
        store(v1, i, vi)
""",
    comment="updates of 4 inputs and 3 outputs, of which three are in place",
)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("n", [0, 1, 7, 1000, 4099])
def test_adam_in_place(cache: KernelCache, in_place: bool, n: int) -> None:
    p, g, m, v = (rng.standard_normal(n).astype("f") for _ in range(4))
    v = np.abs(v)
    m_new = np.float32(0.9) * m + np.float32(0.1) * g
    v_new = np.float32(0.99) * v + np.float32(0.01) * g * g
    p_new = p - np.float32(0.5) * m_new / (np.sqrt(v_new) + np.float32(1e-7))
    outputs = (p, m, v) if in_place else tuple(np.full(n, 7, "f") for _ in range(3))
    literals = (np.float32(0.5), np.float32(0.9), np.float32(0.99), np.float32(1e-7))
    run(cache, ADAM, (p, g, m, v, *outputs, *literals, 1000, n), (0, -(-n // 1000)))
    for new, expected in zip(outputs, (p_new, m_new, v_new), strict=True):
        np.testing.assert_allclose(new, expected, rtol=2e-5, atol=1e-6)


@x86
def test_adam_vectorises_without_alias_checks() -> None:
    text = assembly(ADAM)
    for operation in ("vdivps", "vsqrtps", "vfmadd.*ps", "vmulps"):
        assert vector_instructions(text, operation)
    assert text.count("jae") + text.count("jb") < 12  # comparing 7 pointers in pairs would take many more


@x86
@pytest.mark.parametrize("function", ["exp", "log", "tanh", "sigmoid", "erf", "sin", "cos", "log1p", "expm1", "power"])
def test_mathematics_vectorises(function: str) -> None:
    arguments = "x0, x1" if function == "power" else "x0"
    text = assembly(elementwise(f"{function}({arguments})", "f32 f32", "f32"))
    assert vector_instructions(text, "vfmadd.*p[sd]") and "call" not in text


@x86
@pytest.mark.parametrize(
    ("expression", "dtype"),
    [
        ("maximum(x0, f32(0))", "f32"),
        ("where(x0 > x1, x0 * x1, -x0)", "f32"),
        ("x0 * x1 + x0", "f16"),
        ("x0 + x1", "i32"),
        ("minimum(absolute(x0), x1)", "i32"),
        ("x0 * x1 + x0", "f64"),
    ],
)
def test_expressions_vectorise(expression: str, dtype: str) -> None:
    assert vector_instructions(assembly(elementwise(expression, f"{dtype} {dtype}", dtype)), "vmov[a-z]*[0-9]*")


@x86
@pytest.mark.parametrize(
    ("cpu", "features", "register"),
    [("skylake-avx512", "-prefer-256-bit", "zmm"), ("haswell", "", "ymm"), ("x86-64", "", "xmm")],
)
def test_vectors_are_as_wide_as_the_machine(cpu: str, features: str, register: str) -> None:
    text = assembly(elementwise("exp(x0) * x1", "f32 f32", "f32"), cpu, features)
    widest = [r for r in ("zmm", "ymm", "xmm") if f"%{r}" in text][0]
    assert widest == register


SUM = """
def kernel(args, lo, hi, worker):
    a = slots(args)
    x, out = f32p(a[0]), f32p(a[1])
    total = f32({start})
    for i in range(lo, hi):
        total = {step}
    out[0] = total
"""


def reduction(step: str, start: str = "0", fastmath: bool = False) -> Kernel:
    return Kernel("reduce", SUM.format(step=step, start=start), fastmath=fastmath)


@x86
def test_sums_vectorise_only_when_told() -> None:
    step = "total + load(x, i) * load(x, i)"
    assert not vector_instructions(assembly(reduction(step)), "v(add|fmadd...)ps")
    assert len(vector_instructions(assembly(reduction(step, fastmath=True)), "vfmadd...ps")) >= 2


@x86
def test_maximum_reduction_vectorises() -> None:
    assert vector_instructions(assembly(reduction("maximum(total, load(x, i))")), "vmaxps")


@pytest.mark.parametrize("n", [0, 1, 15, 1000, 12345])
def test_reductions(cache: KernelCache, n: int) -> None:
    x = rng.standard_normal(n).astype("f")
    out = np.zeros(1, "f")
    run(cache, reduction("total + load(x, i)", fastmath=True), (x, out), (0, n))
    np.testing.assert_allclose(out[0], x.sum(dtype="d"), atol=1e-3)
    run(cache, reduction("maximum(total, load(x, i))", "-1e30"), (x, out), (0, n))
    assert out[0] == (x.max() if n else np.float32(-1e30))
    if n > 3:
        x[3] = np.nan
        run(cache, reduction("maximum(total, load(x, i))", "-1e30"), (x, out), (0, n))
        assert np.isnan(out[0])


def test_plain_accesses_stay_ordered(cache: KernelCache) -> None:
    """Scatter-add and prefix sums, where iterations depend on each other."""
    source = """
def kernel(args, lo, hi, worker):
    a = slots(args)
    x, index, out = f32p(a[0]), i32p(a[1]), f32p(a[2])
    for i in range(lo, hi):
        out[index[i]] += x[i]
    for i in range(lo + 1, hi):
        x[i] = x[i] + x[i - 1]
"""
    x = np.ones(100, "f")
    index = (np.arange(100) % 3).astype("i4")
    out = np.zeros(3, "f")
    run(cache, Kernel("scatter", source), (x, index, out), (0, 100))
    assert out.tolist() == [34, 33, 33] and x[-1] == 100


def test_reordered_sums_are_reproducible(cache: KernelCache) -> None:
    x = rng.standard_normal(10007).astype("f")
    kernel = reduction("total + load(x, i)", fastmath=True)
    results = set()
    for shift in range(8):  # alignment must not matter
        moved = np.empty(x.size + shift, "f")[shift:]
        moved[:] = x
        out = np.zeros(1, "f")
        run(cache, kernel, (moved, out), (0, x.size))
        results.add(float(out[0]))
    assert len(results) == 1


def test_every_dtype_loads_and_stores(cache: KernelCache) -> None:
    for name in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "?"):
        x = np.array([0, 1, 2, 3, 100], np.int64).astype(name)
        short = {"f2": "f16", "?": "bool"}.get(name, name[0] + str(8 * int(name[-1])) if name != "?" else "")
        np.testing.assert_array_equal(apply(cache, "x0", short, x), x)


def test_half_precision_is_computed_in_single(cache: KernelCache) -> None:
    x = np.array([1.0, 60000.0, 6e-8, np.inf, np.nan, -2.5], np.float16)
    y = apply(cache, "x0 * f32(2) / f32(2)", "f16", x)
    np.testing.assert_array_equal(y, x)  # 120000 would overflow half precision
    assert apply(cache, "cast_f16(x0)", "f32", np.array([1.0001, 65520.0], "f")).tolist() == [1.0, np.inf]


@pytest.mark.parametrize(
    ("target", "source", "values"),
    [
        ("f32", np.int64, [-3, 0, 1 << 40]),
        ("f32", np.bool_, [True, False]),
        ("f64", np.float32, [0.1]),
        ("f32", np.float64, [0.1]),
        ("bool", np.float32, [0.0, -0.0, 0.5, -2.0]),
        ("bool", np.int32, [0, 256, -1]),
        ("i32", np.float32, [-2.7, 2.7, 0.0, -0.3]),
        ("u8", np.float32, [0.0, 200.9, 255.0]),
        ("u8", np.int32, [256, 257, -1]),
        ("i64", np.float64, [-1e15, 2.5]),
        ("i64", np.uint8, [200]),
        ("u64", np.float32, [3.7, 2.0**63]),
        ("f32", np.uint64, [2**63]),
        ("i8", np.bool_, [True, False]),
    ],
)
def test_casts(cache: KernelCache, target: str, source: type, values: list[float]) -> None:
    from ir import dtypes

    x = np.array(values).astype(source)
    np.testing.assert_array_equal(apply(cache, f"cast_{target}(x0)", target, x), x.astype(dtypes.of(target).numpy))


def test_words_for_bytes_and_bits(cache: KernelCache) -> None:
    source = """
def kernel(args, lo, hi, worker):
    a = slots(args)
    copy(a[0], a[1], 12)
    fill0(a[0] + 4, 4)
    out = i32p(a[2])
    out[0] = bits_f32(f32_bits(a[3]))
    out[1] = umulhi32(u32(a[4]), u32(a[4]))
    out[2] = addr(offset(i32p(a[2]), 5)) - a[2]
    out[3] = u32(u32(a[4]) * u32(a[4]))
    f64p(a[5])[0] = f64_bits(a[6])
"""
    target, out, wide = np.full(4, 9, "i4"), np.zeros(4, "i4"), np.zeros(1)
    big = 0xD2511F53
    run(
        cache,
        Kernel("words", source),
        (target, np.arange(1, 5, dtype="i4"), out, np.float32(1.5), big, wide, 2.5),
        (0, 1),
    )
    assert target.tolist() == [1, 0, 3, 9] and wide[0] == 2.5
    assert out[0] == np.float32(1.5).view("i4") and out[2] == 20
    assert out[1:4:2].view("u4").tolist() == [big * big >> 32, big * big & 0xFFFFFFFF]


def test_indirect_calls(cache: KernelCache) -> None:
    callee = Kernel(
        "sum16",
        "def kernel("
        + ", ".join(f"p{i}" for i in range(16))
        + "):\n    slots(p0)[0] = "
        + " + ".join(f"p{i}" for i in range(1, 16))
        + "\n",
        params=16,
    )
    caller = Kernel(
        "caller",
        "def kernel(args, lo, hi, worker):\n    a = slots(args)\n    call_n(a[0], a[1], "
        + ", ".join(map(str, range(1, 16)))
        + ")\n    call_kernel(a[2], args, 3, 4, 5)\n",
    )
    ordinary = Kernel(
        "ordinary", "def kernel(args, lo, hi, worker):\n    slots(args)[0] = lo * 100 + hi * 10 + worker\n"
    )
    out = np.zeros(1, "i8")
    row = slots_of(cache.get(callee), out, cache.get(ordinary))
    from codegen.cpu.call import c_function

    c_function(cache.get(caller))(row.ctypes.data, 0, 1, 0)
    assert out[0] == sum(range(16)) and row[0] == 345


BODY = "def kernel(args, lo, hi, worker):\n    x = f32p(slots(args)[0])\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (BODY + "    x[0] = undefined_name\n", "undefined_name"),
        (BODY + "    x[0] = x[0] * 2.0\n", "became float64"),
        (BODY + "    x[0] = maximum(x[0], 1)\n", "arguments must have one type"),
        (BODY + "    x[0] = where(x[0], x[0], x[0])\n", "bool condition"),
        (BODY + "    x[0] = exp(lo)\n", "exp does not take int64"),
        (BODY + "    load(lo, 0)\n", "typed pointer"),
        (BODY + "    y = [lo]\n    x[0] = y[0]\n", "cannot be compiled"),
        (BODY + "    print(lo)\n", "cannot be compiled"),
        (BODY + "    return lo\n", "No conversion from int64 to none"),
        (BODY + "    x[0] =\n", "line 3"),
        ("def kernel(args):\n    pass\n", "takes 1 parameters, expected 4"),
        ("def other(args, lo, hi, worker):\n    pass\n", "no function called 'kernel'"),
    ],
)
def test_mistakes_name_the_kernel_and_show_its_comment(source: str, message: str) -> None:
    with pytest.raises(KernelError) as error:
        compile_kernel(Kernel("faulty_7", source, "%3 = relu(%2)   # dense_1"))
    text = str(error.value)
    assert message in text and "kernel 'faulty_7'" in text and "%3 = relu(%2)   # dense_1" in text
    assert error.value.__cause__ is None and "TypingError" not in text and "\x1b" not in text


def test_unknown_factory() -> None:
    with pytest.raises(KernelError, match="unknown factory 'nothing'.*microkernel"):
        compile_kernel(Kernel("k", BODY, namespace=(("f", ("nothing", 1)),)))
    assert "microkernel" in FACTORIES


def test_library_functions() -> None:
    assert all(map(is_library_function, ("expf", "pow", "memcpy", "fmodf", "erff", "__truncsfhf2", "log1p")))
    assert not any(
        map(is_library_function, ("NRT_Allocate", "numba_unpickle", "PyErr_Clear", "printf", "_GLOBAL_OFFSET_TABLE_"))
    )


def test_kernel_text() -> None:
    k = Kernel(
        "k",
        "def kernel(args, lo, hi, worker):\n    pass\n",
        "%0 = a()\n%1 = b()",
        (("u", ("microkernel", 6)),),
        fastmath=True,
    )
    assert k.text() == (
        "# kernel k\n# %0 = a()\n# %1 = b()\n# u = microkernel(6,)\n# sums may be reordered\n"
        "def kernel(args, lo, hi, worker):\n    pass\n"
    )
