"""Networks that several methods share, as `flax.linen` modules: the one multilayer perceptron, and a convolution."""
