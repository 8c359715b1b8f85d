"""ABS, artificial brain stimulation: which neuron alone raises one class (Liu et al., CCS 2019)."""
