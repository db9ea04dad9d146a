"""Single kernels, against the arithmetic and memory bandwidth of the machine."""
