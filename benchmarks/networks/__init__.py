"""Training steps and predictions of whole networks."""
