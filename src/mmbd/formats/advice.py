"""What to do next, in the words that every message about an unreadable file ends with."""

from __future__ import annotations

from mmbd.base.errors import Failed

AGAIN = "download it again, or ask whoever made it for a whole copy"
NO_MEMORY = "there is not enough memory to read the file: scan it where there is twice its size"
KERAS_AGAIN = "save the model again with Keras, and scan that"
STATE = "Save model.state_dict() alone and scan that file"
# Where the file's own words about its network are false.
WORDS = (
    "Ask whoever made it for one that is right, or save its tensors alone (with "
    "safetensors.torch.save_file) and scan those with --arch and --input"
)
FITTING = (
    "Give the network that the file is for, with --arch, --arch-arg and --input (in Python arch=, "
    "arch_args= and input_shape=)"
)
INPUT = "Give the shape of one input that the network is used with: --input (input_shape= in Python)"
ALONE = "if it really is a classifier, save its weights alone and scan that file"


def broken(what: str) -> Failed:
    """The error for bytes that are cut short, damaged, or not what they claim to be."""
    return Failed(f"{what}: {AGAIN}")


def excessive(what: str) -> Failed:
    """The error for more of something than a file of weights has."""
    return Failed(f"{what}: {ALONE}")
