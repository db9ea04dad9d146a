"""What Keras 2 still accepts of Keras 1."""
