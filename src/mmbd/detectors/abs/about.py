"""ABS in words, as reports say them."""

from __future__ import annotations

from mmbd.detectors.detector import About

ABOUT = About(
    title="ABS: neurons that alone raise one class, and triggers that drive them, with few clean images",
    source="ABS, ACM Conference on Computer and Communications Security, 2019",
    rule=(
        "A trigger that drives one neuron takes clean images to one class (artificial brain stimulation, "
        "ACM CCS 2019)."
    ),
    mark=(
        "A backdoor often lives in a few neurons: whatever the image is, raising one of them is enough to "
        "take it to the target class, and a small patch or a filter raises it."
    ),
    backdoored=(
        "This scan raised every neuron by itself, took those that raise one class most, and searched for "
        "triggers that drive them. {outliers} {chance}"
    ),
    clean=(
        "This scan raised every neuron by itself, took those that raise one class most, and searched for "
        "triggers that drive them; no trigger takes enough clean images to its class. {chance} Backdoors "
        "that live in many neurons at once are not found so."
    ),
    statistics="How often a trigger for one neuron takes clean images to the class",
    columns={
        "REASR": (
            "The statistic of a class is the success rate of the best trigger that was "
            "reverse-engineered for it: the share of clean images of other classes that end there. It "
            "has none where no neuron under suspicion leads to the class."
        ),
        "stimulation": (
            "The stimulation says how far the class rises above all others, in logits, when its strongest "
            "neuron is raised."
        ),
    },
    artifacts=(
        "The triggers found",
        "A clean image with the trigger that drives a suspicious neuron; where the trigger is a patch, its "
        "mask and pattern too. They need not look like the trigger of the attack.",
    ),
    suspect="This trigger drives a neuron that takes clean images to the class; its {column} is {value}.",
    tested="The success rate of the best trigger",
    tests={"REASR": ("REASR", "")},
    advice={
        "backdoored": (
            "Unlearn the trigger found, where it is a patch: `mmbd fix --method unlearning --trigger "
            "REPORT.json`, where the report was stored with `--json`.",
        )
    },
)
