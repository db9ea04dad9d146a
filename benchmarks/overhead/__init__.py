"""What kgraph takes besides its kernels, and what other programs on the machine do to a step."""
