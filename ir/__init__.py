"""The typed dataflow IR: types, graphs, ops, text form, derivatives and passes.

`kgraph` builds IR from Keras calls, `codegen` turns it into programs. This package imports only the standard
library, numpy and networkx.
"""
