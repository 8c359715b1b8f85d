"""Files of models read in a box: what comes out of it is taken apart and checked, and never run."""
