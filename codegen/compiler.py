"""Kernel text to machine code: Numba types and lowers it, LLVM optimises it here, the result is a relocatable object.

Imported only on a cache miss (`codegen/cache.py`), because Numba takes a fraction of a second to import. Of Numba
only the front end is used: its module of LLVM instructions is caught before Numba would optimise and load it, gets
the marks of `postprocess`, and goes once through LLVM's O3 pipeline for this CPU. The object refers to no Numba
symbol; loading it takes llvmlite alone.
"""

from __future__ import annotations

import builtins
import importlib
import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import binding, ir
from numba.core import compiler, errors, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.typed_passes import IRLegalization, NativeLowering, NopythonTypeInference, PreLowerStripPhis
from numba.core.untyped_passes import (
    DeadBranchPrune,
    FixupArgs,
    IRProcessing,
    ReconstructSSA,
    RewriteSemanticConstants,
    TranslateByteCode,
)

from codegen import postprocess
from codegen.cpu import intrinsics, scalar
from codegen.loader import target_machine
from codegen.source import FACTORIES, Kernel, KernelError


@dataclass(frozen=True)
class Compiled:
    """A relocatable object, the name of its C function, the external symbols it needs, and how long it took to make
    (seconds).
    """

    object: bytes
    symbol: str
    undefined: tuple[str, ...]
    seconds: float


def compile_kernel(kernel: Kernel) -> Compiled:
    """Compiles a kernel for this CPU. Raises KernelError, which names the kernel, for any mistake in it."""
    start = time.perf_counter()
    with global_compiler_lock:
        machine = target_machine()
        module = optimise(lower(kernel), machine)
        code = machine.emit_object(module)
    undefined = undefined_symbols(code, module)
    foreign = [name for name in undefined if not is_library_function(name)]
    if foreign:
        raise _error(
            kernel, f"it calls {', '.join(foreign)}: kernels may only use what works on plain memory and numbers"
        )
    return Compiled(code, kernel.symbol, undefined, time.perf_counter() - start)


def assembly(kernel: Kernel, cpu: str = "", features: str = "") -> str:
    """Machine code of a kernel as text, for this CPU or another, to look at or to test how it vectorised."""
    with global_compiler_lock:
        machine = target_machine(cpu, features)
        return str(machine.emit_assembly(optimise(lower(kernel), machine)))


def lower(kernel: Kernel) -> binding.ModuleRef:
    """The kernel as one LLVM module, not optimised yet, whose only external function is `kernel.symbol`."""
    function = _python_function(kernel)
    library = _CaughtLibrary(cpu_target.target_context.codegen(), kernel.symbol)
    arguments = (types.int64,) * kernel.params
    try:
        result = compiler.compile_extra(
            cpu_target.typing_context,
            cpu_target.target_context,
            function,
            arguments,
            types.none,
            _flags(),
            {},
            library=library,
            pipeline_class=_FrontEnd,
        )
    except errors.NumbaError as error:
        raise _error(kernel, _reason(kernel, error)) from None
    except Exception as error:  # Numba's lowering also fails in other ways
        raise _error(kernel, f"{type(error).__name__}: {error}") from error
    module = library.module
    _check_promotion(kernel, module)
    postprocess.mark_parallel_loops(module)
    postprocess.set_float_flags(module, kernel.fastmath)
    _add_entry(module, result.fndesc.mangled_name, kernel)
    return library.link(str(module))


def _python_function(kernel: Kernel) -> Callable[..., None]:
    filename = f"<kernel {kernel.name}>"
    namespace: dict[str, Any] = {"__name__": "kgraph_kernel", "__builtins__": builtins}
    namespace |= intrinsics.NAMESPACE
    namespace |= scalar.NAMESPACE
    for name, (factory, *arguments) in kernel.namespace:
        if factory not in FACTORIES:
            raise _error(
                kernel, f"{name!r} is to be made by the unknown factory {factory!r} (known: {', '.join(FACTORIES)})"
            )
        module, _, attribute = FACTORIES[str(factory)].partition(":")
        namespace[name] = getattr(importlib.import_module(module), attribute)(*arguments)
    try:
        exec(compile(kernel.source, filename, "exec"), namespace)  # noqa: S102 - this is what a code generator does
    except SyntaxError as error:
        raise _error(kernel, f"line {error.lineno}: {error.msg}") from None
    function = namespace.get("kernel")
    if not callable(function):
        raise _error(kernel, "its source defines no function called 'kernel'")
    if function.__code__.co_argcount != kernel.params:
        raise _error(kernel, f"it takes {function.__code__.co_argcount} parameters, expected {kernel.params}")
    return function  # type: ignore[no-any-return]


def _flags() -> compiler.Flags:
    flags = compiler.Flags()
    flags.enable_pyobject = False
    flags.boundscheck = False
    flags.error_model = "numpy"
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    return flags


class _FrontEnd(compiler.CompilerBase):  # type: ignore[misc]
    """Numba's passes from byte code to LLVM instructions, without those for objects, closures and arrays."""

    def define_pipelines(self) -> list[Any]:
        manager = compiler.PassManager("kernel")
        for step in (
            TranslateByteCode,
            FixupArgs,
            IRProcessing,
            RewriteSemanticConstants,
            DeadBranchPrune,
            ReconstructSSA,
            NopythonTypeInference,
            PreLowerStripPhis,
            IRLegalization,
            NativeLowering,
        ):
            manager.add_pass(step, step.__name__)
        manager.finalize()
        return [manager]


class _CaughtLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Numba's container of code, which keeps the module it is given instead of optimising it."""

    module: ir.Module

    def add_ir_module(self, ir_module: ir.Module) -> None:
        self.module = ir_module

    def link(self, text: str) -> binding.ModuleRef:
        """Parses the module and adds the functions that Numba compiled on the way (integer powers and the like)."""
        try:
            module = binding.parse_assembly(text)
        except RuntimeError as error:
            raise KernelError(f"generated LLVM code is not valid: {error}") from None
        for library in dict.fromkeys(self._linking_libraries):
            module.link_in(library._get_module_for_linking(), preserve=True)
        for variable in module.global_variables:
            if not variable.is_declaration:
                variable.linkage = "internal"
        return module


def _check_promotion(kernel: Kernel, module: ir.Module) -> None:
    """Refuses a float32 that became a float64 by itself: Numba promotes `x * 2.0`, which is slow and not what was
    meant.
    """
    if "f64" in kernel.source:
        return
    for function in module.functions:
        for block in function.blocks:
            for instruction in block.instructions:
                promoted = getattr(instruction, "opname", "") == "fpext" and isinstance(instruction.type, ir.DoubleType)
                if promoted and not getattr(instruction, "deliberate", False):
                    raise _error(
                        kernel,
                        "a float32 met an int64 or a float64 literal and became float64; write f32(...) around it",
                    )


def _add_entry(module: ir.Module, name: str, kernel: Kernel) -> None:
    """Adds the C function; Numba's own function, with its status and result pointers, disappears into it."""
    native = module.get_global(name)
    for function in module.functions:
        if function.blocks:
            function.linkage = "internal"
    entry = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * kernel.params), kernel.symbol)
    entry.attributes.add("nounwind")
    native.attributes.add("alwaysinline")
    builder = ir.IRBuilder(entry.append_basic_block("entry"))
    outputs = [builder.alloca(argument.type.pointee) for argument in native.args[:2]]
    builder.call(native, [*outputs, *entry.args])
    builder.ret_void()


def optimise(module: binding.ModuleRef, machine: binding.TargetMachine) -> binding.ModuleRef:
    """Runs LLVM's O3 pipeline for a machine over the module, in place."""
    module.verify()
    module.data_layout = str(machine.target_data)
    options = binding.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    options.loop_interleaving = True
    options.loop_unrolling = True
    options.slp_vectorization = True
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return module


_LIBRARY_FUNCTIONS = frozenset(
    """exp exp2 exp10 expm1 log log2 log10 log1p pow sqrt cbrt sin cos sincos tan asin acos atan atan2 sinh cosh tanh
    asinh acosh atanh erf erfc tgamma lgamma fmod floor ceil trunc rint round roundeven nearbyint fma ldexp hypot
    copysign fmin fmax""".split()
)
_MEMORY_FUNCTIONS = frozenset({"memcpy", "memmove", "memset", "bzero"})
_COMPILER_RUNTIME = re.compile(r"__(trunc|extend)[sdhtx]f[sdhtx]f2|__u?(div|mod|mul)[sdt]i[34]|__gnu_[fh]2[hf]_ieee")


def is_library_function(name: str) -> bool:
    """Whether a symbol belongs to the C library or to the compiler's own support routines."""
    name = name.removeprefix("_") if not name.startswith("__") else name
    base = name[:-1] if name.endswith("f") and name[:-1] in _LIBRARY_FUNCTIONS else name
    return base in _LIBRARY_FUNCTIONS or base in _MEMORY_FUNCTIONS or _COMPILER_RUNTIME.fullmatch(name) is not None


def undefined_symbols(code: bytes, module: binding.ModuleRef) -> tuple[str, ...]:
    """Names that an object expects others to define: from its symbol table where it is a 64-bit ELF file, else from
    the module.
    """
    if code[:6] != b"\x7fELF\x02\x01":
        names = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
        return tuple(sorted(names))
    (section_offset,) = struct.unpack_from("<Q", code, 40)
    size, count = struct.unpack_from("<HH", code, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, section_offset + i * size) for i in range(count)]
    names = set()
    for _, kind, _, _, start, length, link, _, _, entry in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        strings = sections[link][4]
        for position in range(start + entry, start + length, entry):
            name, _, _, section, _, _ = struct.unpack_from("<IBBHQQ", code, position)
            if section == 0 and name:
                names.add(code[strings + name : code.index(b"\0", strings + name)].decode())
    return tuple(sorted(names))


def _reason(kernel: Kernel, error: Exception) -> str:
    """Numba's message in short: the words of an intrinsic that refused its arguments, or the first lines, and where
    it was.
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    refusal = re.search(r"TypingError: (.*)", text)
    if refusal:
        reason = refusal.group(1)
    else:
        noise = ("Failed in ", "During: ", "File ", "<source missing")
        lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith(noise)]
        reason = "\n".join(lines[:12])
    place = re.search(r"<kernel .*?> ?\((\d+)\)", text)
    if place:
        number = int(place.group(1))
        reason += f"\nin line {number}: {kernel.source.splitlines()[number - 1].strip()}"
    return reason


def _error(kernel: Kernel, reason: str) -> KernelError:
    return KernelError(f"kernel {kernel.name!r} cannot be compiled: {reason}\n\n{kernel.text()}")
