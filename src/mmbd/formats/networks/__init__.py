"""From named tensors to the network that they are the weights of."""
