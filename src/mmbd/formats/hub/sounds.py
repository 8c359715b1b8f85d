"""What a folder of the hub says of an audio classifier's inputs: raw waveforms, or spectrograms.

Neither their range nor, for waveforms, their length is in the folder: these are assumed, and said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmbd.base.errors import Failed, Refused
from mmbd.formats.hub.documents import numbers, whole
from mmbd.formats.hub.inputs import FILE, Inputs
from mmbd.formats.hub.wrapped import Prepare, spectrogram, waveform

WAVEFORMS = (
    "data2vec-audio",
    "hubert",
    "sew",
    "sew-d",
    "unispeech",
    "unispeech-sat",
    "wav2vec2",
    "wav2vec2-conformer",
    "wavlm",
)
RATE = 16_000
RATES = (4_000, 96_000)
MAX_FRAMES = 1 << 14
# The log mel energies that transformers gives AST are at least the logarithm of float32's epsilon; a full
# sine in a frame of 400 samples has at most the square of 200.
ENERGIES = (math.log(1.1920928955078125e-07), 2 * math.log(200))
AST = (-4.2677393, 4.5689974)  # of AudioSet, the defaults of the feature extractor


def sounds(said: Mapping[str, Any] | None, config: Mapping[str, Any]) -> tuple[Inputs, Prepare]:
    """The inputs of an audio network, and what they become before it gets them.

    Args:
        said: `preprocessor_config.json`; None where there is none.
        config: `config.json` with the library's own values where that leaves them out.

    Raises:
        Refused: a kind of network whose inputs are not known here.
        Failed: numbers that are of no use.
    """
    kind = config.get("model_type")
    said = said or {}
    if kind in WAVEFORMS:
        return _waveforms(said)
    if kind == "audio-spectrogram-transformer":
        return _energies(said, config)
    if kind == "whisper":
        return _whisper(config)
    raise Refused(f"the inputs of networks of the kind {kind!r} are not known here: convert it to ONNX")


def _waveforms(said: Mapping[str, Any]) -> tuple[Inputs, Prepare]:
    rate = whole(said.get("sampling_rate", RATE))
    if rate is None or not RATES[0] <= rate <= RATES[1]:
        raise Failed(f"{FILE} has a sampling_rate that no sound has: give --input, such as 1x16000")
    standardised = said.get("do_normalize", True) is not False
    notes = [
        f"assumed: sounds of one second, {rate:,} samples from -1 to 1, as the folder says neither. Give "
        "--input (such as 1x32000) and --bounds if the network is used with others"
    ]
    if standardised:
        where = "as do_normalize says" if "do_normalize" in said else f"assumed, as {FILE} does not say"
        notes.append(f"every sound is brought to mean 0 and variance 1 before the network gets it ({where})")
    return Inputs((1, rate), (-1.0, 1.0), notes=tuple(notes)), waveform(standardised)


def _energies(said: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Inputs, Prepare]:
    shape = _shape(config.get("max_length"), config.get("num_mel_bins"))
    low, high = ENERGIES
    if said.get("do_normalize", True) is not False:
        values = [numbers(said.get(key, usual)) for key, usual in zip(("mean", "std"), AST, strict=True)]
        (mean, *_), (std, *_) = (value or (0.0,) for value in values)
        if not std > 0:
            raise Failed(f"{FILE} has a mean or std that is none: mend it")
        low, high = ((end - mean) / (2 * std) for end in (low, high))
    return _pictures(shape, low, high), spectrogram(low, high)


def _whisper(config: Mapping[str, Any]) -> tuple[Inputs, Prepare]:
    frames = whole(config.get("max_source_positions"))
    shape = _shape(config.get("num_mel_bins"), 2 * (frames or 0))
    return _pictures(shape, -1.0, 1.5), spectrogram(-1.0, 1.5)


def _pictures(shape: tuple[int, ...], low: float, high: float) -> Inputs:
    note = (
        f"assumed: spectrograms, searched for as pictures of 0 to 1 that stand for {low:.3g} to {high:.3g} "
        "in the network's own inputs. Not every such picture is that of a sound"
    )
    return Inputs(shape, (0.0, 1.0), notes=(note,))


def _shape(height: Any, width: Any) -> tuple[int, ...]:
    lengths = (whole(height), whole(width))
    if None in lengths or max(each or 0 for each in lengths) > MAX_FRAMES:
        raise Failed("config.json does not say how large the spectrograms are: mend it")
    return (1, *(each or 0 for each in lengths))
