"""The CPU target: serial kernels over ranges of tiles, compiled through Numba and LLVM to relocatable objects."""
