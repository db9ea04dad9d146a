"""The IR of a Conv-BatchNorm-ReLU network, pass by pass, at both learning phases."""

from kgraph.layers import Activation, BatchNormalization, Conv2D, Dense, Flatten
from kgraph.models import Sequential


def main():
    model = Sequential()
    model.add(Conv2D(8, (3, 3), input_shape=(8, 8, 1), name="conv"))
    model.add(BatchNormalization(name="norm"))
    model.add(Activation("relu", name="relu"))
    model.add(Flatten())
    model.add(Dense(10, activation="softmax", name="classes"))
    model.compile(optimizer="sgd", loss="categorical_crossentropy")

    print("What the layers say: one node per operation, the learning phase an input.")
    print(model.ir(phase="test", stage="source"))

    print("At phase 0 the normalisation is folded into the convolution's weights, the activation into its epilogue.")
    print(model.ir(phase="test", stage="fused"))

    print("For training the graph is differentiated; updates of weights and moving averages stand at its end.")
    print(model.ir(phase="train", stage="differentiated"))

    print("At phase 1 the statistics are one pass over memory, and normalising and activating another.")
    print(model.ir(phase="train", stage="fused"))

    print("And this is the code that runs:")
    for kernel in model.kernels()[:2]:
        print(kernel)


if __name__ == "__main__":
    main()
