"""Machine code into this process: relocatable objects through LLVM's run-time linker, with llvmlite alone.

Before it comes `compiler` (makes objects) or a file of `cache`; after it come the driver and whoever calls the
addresses. Loaded code is never unloaded: programs hold bare addresses of it.
"""

from __future__ import annotations

import functools
import sys
import threading
from typing import Any

from codegen.source import KernelError, host_cpu

_lock = threading.RLock()
_addresses: dict[str, int] = {}  # symbols are hashes of what they do, so a symbol is loaded once per process


def load_object(code: bytes, symbol: str, undefined: tuple[str, ...] = ()) -> int:
    """Loads a relocatable object and returns the address of its function `symbol`.

    `undefined` lists the external names it needs; each must exist in this process, because LLVM ends the process when
    one does not. Raises KernelError for a missing name or an object without the symbol.
    """
    with _lock:
        address = _addresses.get(symbol)
        if address is None:
            address = _addresses[symbol] = _load(code, symbol, undefined)
        return address


def _load(code: bytes, symbol: str, undefined: tuple[str, ...]) -> int:
    from llvmlite import binding

    engine = _engine()
    missing = [name for name in undefined if not binding.address_of_symbol(name)]
    if missing:
        raise KernelError(f"compiled kernel {symbol} needs {', '.join(missing)}, which this process does not provide")
    try:
        engine.add_object_file(binding.ObjectFileRef.from_data(code))
        engine.finalize_object()
    except RuntimeError as error:
        raise KernelError(f"compiled kernel {symbol} cannot be loaded: {error}") from None
    address = int(engine.get_function_address(symbol))
    if not address:
        raise KernelError(f"compiled kernel {symbol} does not define that function")
    return address


@functools.cache
def _engine() -> Any:
    from llvmlite import binding

    machine = target_machine()
    if sys.platform.startswith("linux") and not binding.address_of_symbol("expf"):
        binding.load_library_permanently("libm.so.6")
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine)


def target_machine(cpu: str = "", features: str = "") -> Any:
    """LLVM's target machine for run-time code, by default for this CPU. Each user needs one of its own: an engine
    takes it over.
    """
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    if not cpu:
        cpu, features = host_cpu()
    target = binding.Target.from_triple(binding.get_process_triple())
    relocation = (
        "static" if target.name.startswith("x86") else "default"
    )  # position-independent code would want a global offset table
    return target.create_target_machine(
        cpu=cpu, features=features, opt=3, reloc=relocation, codemodel="jitdefault", jit=True
    )
