"""ONNX: a graph of operators, read as data and computed in torch."""
