"""MM-BD in words, as reports say them."""

from __future__ import annotations

from mmbd.detectors.detector import About
from mmbd.null import NULLS

ABOUT = About(
    title="MM-BD: maximum margins of all classes, compared with those of clean networks; needs no data",
    source="MM-BD, IEEE Symposium on Security and Privacy, 2024",
    rule=(
        "Some class can be pushed to a margin that classes of clean models do not reach: the mark that "
        "training with a trigger leaves (MM-BD, IEEE S&P 2024)."
    ),
    mark=(
        "Learning to do so leaves a mark that can be seen without the trigger: for the target class, some "
        "input exists that the model prefers over all other classes by far more than for any class it "
        "learned honestly. Small changes of any input lead to that class, and the last layer may prefer it."
    ),
    backdoored=(
        "This scan searched for these marks, class by class. {outliers} {chance} It is strong evidence, not "
        "a proof of intent: a class with far more training data than the others, or unlike all of them, "
        "can leave a similar mark."
    ),
    clean=(
        "For every class, this scan searched for the input that the model prefers over all other classes "
        "by the widest margin, and for small changes that lead many inputs there. In a backdoored model the "
        "target class usually stands far out. Here no class does. {chance}"
    ),
    statistics="How far each class can be pushed",
    columns={
        "maximum margin": (
            "The statistic of a class is its maximum margin: the largest lead of its logit over every "
            "other that any valid input was found to give."
        ),
        "universal-perturbation gain": (
            "Beside it, the scan measured how far one small change, the same for all of a few made-up "
            "inputs, lifts a class (the universal-perturbation gain, in the table of all classes): a "
            "trigger works on any input."
        ),
        "window lift": "The window lift says how far one small window lifts the class on inputs of others.",
        "window share": (
            "The window share is how many inputs of other classes go to the class with the one window that "
            "takes most inputs away from theirs."
        ),
        "window lift on samples": "Lifts and shares on samples are the same on the clean samples given.",
        "window share on samples": "There the window is the one that takes most samples away from theirs.",
        "flow share": (
            "The flow share is how many clean samples of other classes one smooth warp takes to the class. "
            "It was searched for on other samples, where there were enough."
        ),
        "head share": "The head share is how often the class wins if the last layer gets random inputs.",
        "evidence": "The evidence of a class is how far all of these, weighted, make it stand out.",
    },
    artifacts=(
        "The inputs that push hardest",
        "Found from random noise by gradient ascent, without any data. They are not the trigger, though "
        "they may hold traces of it.",
    ),
    suspect="This input puts the class {value} ahead of every other.",
    traces=(
        "How the searches went",
        "The margin at every gradient evaluation of the best search of a class. Curves that have levelled "
        "off have found their maximum.",
    ),
    step="gradient evaluation",
    tested="p-value of the largest statistic, by null model",
    test="null",
    tests={name: (null.title, null.basis) for name, null in NULLS.items()},
    gamma=tuple(name for name, null in NULLS.items() if null.gamma),
    advice={
        "backdoored": (
            "Confirm: scan with several seeds (`--seeds 5`) and, where there are clean models for the same "
            "task, with those as references (`--reference`).",
            "Ask whether the class is special without an attack: many more examples, or examples unlike "
            "all others.",
        ),
        "clean": (
            "Where much depends on the model, scan with several seeds (`--seeds 5`) and with clean models "
            "of the same task as references (`--reference`).",
        ),
        "not evaluable": (
            "With few classes or unusual outputs, clean models of the same task can serve as references "
            "(`--reference`).",
        ),
    },
)
