"""The model under inspection: a classifier, its inputs, its outputs and its activations."""
