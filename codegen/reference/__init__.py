"""The reference target: the interpreter. Slow, exact, needs no compiler; what every other target is tested against."""
