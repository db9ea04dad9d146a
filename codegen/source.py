"""What a kernel is before it is compiled: Python text, a few options, and the key that names its compiled form.

Before it come the kernel printers of a target (`codegen/cpu/elementwise.py`, ...), which make `Kernel`s; after it
come `cache` (finds or makes the compiled form) and `compiler` (makes it). Nothing here imports Numba.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path

Spec = tuple["str | int | float | bool", ...]

PARAMS = ("args", "lo", "hi", "worker")
"""Parameters of an ordinary kernel: address of its row of 64-bit slots, first tile, end of tiles, number of the
thread.
"""

FACTORIES: dict[str, str] = {
    "microkernel": "codegen.cpu.microkernel:build",
    "depthwise": "codegen.cpu.depthwise_kernel:build",
}
"""Who builds the objects that `Kernel.namespace` binds: the first item of a spec names a row, the others are passed
to the function.
"""

_GENERATOR_FILES = (
    "source.py",
    "compiler.py",
    "postprocess.py",
    "loader.py",
    "cpu/emit.py",
    "cpu/intrinsics.py",
    "cpu/scalar.py",
    "cpu/vmath.py",
)
_GENERATOR_VERSION = "1"


class KernelError(Exception):
    """A kernel that cannot be compiled or loaded. The message names the kernel and shows its head comment."""


@dataclass(frozen=True)
class Kernel:
    """A function to compile: `def kernel(args, lo, hi, worker)` and what it may use.

    `source` uses only the kernel namespace (`codegen/cpu/intrinsics.py`, `codegen/cpu/vmath.py`) and the names that
    `namespace` binds: pairs of a name and a spec `(factory, *arguments)`, where `factory` is a row of `FACTORIES`.
    All `params` parameters are int64 and nothing is returned. `fastmath` lets LLVM reorder sums (so that they
    vectorise; the order depends on sizes alone); it never assumes that NaN or infinity do not occur. `name` and
    `comment` (the IR lines and layers it implements) are for people: they are no part of the key, so equal kernels of
    different layers are compiled once.
    """

    name: str = field(compare=False)
    source: str
    comment: str = field(default="", compare=False)
    namespace: tuple[tuple[str, Spec], ...] = ()
    params: int = len(PARAMS)
    fastmath: bool = False

    @functools.cached_property
    def key(self) -> str:
        """Hash of everything the machine code depends on: this kernel, the generator, the compilers and the CPU (64
        hex digits).
        """
        parts = (fingerprint(), self.source, repr(self.namespace), str(self.params), str(self.fastmath))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def symbol(self) -> str:
        """Name of the C function in the compiled object."""
        return f"kgraph_{self.key[:40]}"

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """The source as it is shown and stored: options and comment as a head comment, then the code."""
        head = [f"kernel {self.name}", *self.comment.splitlines()]
        head += [f"{name} = {spec[0]}{spec[1:]!r}" for name, spec in self.namespace]
        if self.fastmath:
            head.append("sums may be reordered")
        return "".join(f"# {line}".rstrip() + "\n" for line in head) + self.source.rstrip() + "\n"


@functools.cache
def generator_version() -> str:
    """Hash of the files that turn a kernel's text into machine code; changes whenever one of them does."""
    here = Path(__file__).parent
    names = set(_GENERATOR_FILES)
    for target in FACTORIES.values():
        module = target.partition(":")[0].split(".", 1)[1]
        names.add(module.replace(".", "/") + ".py")
    digest = hashlib.sha256(_GENERATOR_VERSION.encode())
    for name in sorted(names):
        file = here / name
        digest.update(name.encode() + b"\0" + (file.read_bytes() if file.exists() else b"") + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def host_cpu() -> tuple[str, str]:
    """LLVM's name of this CPU and its feature string (`+avx2,-sse4a,...`), with 512-bit vectors preferred where they
    exist.
    """
    from llvmlite import binding

    try:
        features = dict(binding.get_host_cpu_features())
    except RuntimeError:  # LLVM cannot tell on this system; the name of the CPU implies most
        features = {}
    flat = ",".join(("+" if on else "-") + name for name, on in sorted(features.items()))
    if features.get("avx512f"):
        flat += ",-prefer-256-bit"
    return binding.get_host_cpu_name(), flat


@functools.cache
def fingerprint() -> str:
    """What machine code depends on besides a kernel's own text, as one line of `name=value` items."""
    cpu, features = host_cpu()
    versions = [f"{name}={package_version(name)}" for name in ("numba", "llvmlite")]
    return " ".join([f"generator={generator_version()}", *versions, f"cpu={cpu}", f"features={features}"])


@functools.cache
def package_version(name: str) -> str:
    """Version of an installed package, read from its version file: importing it, or package metadata, would take too
    long.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        return "none"
    file = Path(spec.origin).with_name("_version.py")
    found = re.search(r"version.{0,30}?['\"](\d[^'\"]*)['\"]", file.read_text()) if file.exists() else None
    return found.group(1) if found else "unknown"
