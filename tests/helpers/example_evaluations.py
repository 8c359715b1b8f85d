"""Example evaluations: an ordinary one, and one with names that mean harm."""

from __future__ import annotations

import math
import random

from helpers.toy_zoos import report
from mmbd.evaluation.run import Evaluation
from mmbd.evaluation.tables import Result

ATTACKS = ("badnet-S", "badnet-M", "unicolor-S", "blend-M", "1-pixel-M", "chessboard-S", "wanet")
DETECTORS = {"mm-bd": 1.6, "neural-cleanse": 0.9, "mm-bd-paper": 1.2, "coin": 0.0}


def evaluation(results, **changes) -> Evaluation:
    return Evaluation(
        **{
            "results": tuple(results),
            "zoo": "development",
            "broken": (),
            "excluded": (),
            "without_seed": 0,
            "level": 0.05,
            "seed": 0,
            "half": None,
            "attacks": (),
            "environment": {"mmbd": "0.1.0", "torch": "2.13.0", "processor": "a small one, 2 cores"},
        }
        | changes
    )


def ordinary(attacks=ATTACKS, detectors=DETECTORS, models: int = 6, **changes) -> Evaluation:
    """A few dozen models, detectors good and bad, and one that never answers for VGG."""
    draw = random.Random(0)
    results = []
    truths = [(attack, True) for attack in attacks for _ in range(models)]
    truths += [("clean", False)] * (3 * models) + [("imbalance", False)] * models
    for number, (attack, bad) in enumerate(truths):
        group = ("cifar10-resnet8", "gtsrb-cnn")[number % 2]
        for detector, skill in detectors.items():
            raised = bad or attack == "imbalance"
            log10 = draw.expovariate(1) * math.exp(skill * raised) / math.log(10)
            p_value, target = 10**-log10, number % 7
            named = target if draw.random() < 0.9 else target + 1
            answer = report(p_value <= 0.05, (named,), log10, p_value, seconds=draw.random() * 9)
            if detector == "neural-cleanse" and number % 11 == 3:
                answer = report(None)
            results.append(
                Result(f"model{number}", bad, attack, (target,) * bad, group, number, detector, answer)
            )
    broken = (("model99", "the file is empty (0 bytes)"),)
    aside = (("model98", "attack success rate 41 %"),)
    return evaluation(results, **{"broken": broken, "excluded": aside} | changes)


def hostile() -> Evaluation:
    """Markup, formulas, control characters and long words in every name."""
    script = "<script>alert(1)</script>"
    names = (
        script,
        '"><img src=http://example.invalid/x>',
        "a|b`c*d_e[f](g)",
        "=HYPERLINK(1)",
        "\x1b[31mred\u202e",
        "x" * 400,
        "{{ 7 * 7 }}",
    )
    made = ordinary(names, {script: 1.0, "=2+3|": 0.5}, 2)
    return evaluation(
        made.results,
        zoo=script,
        attacks=names,
        broken=((script, script * 30),),
        excluded=((script, script),),
        environment={script: script},
    )


def empty_handed() -> Evaluation:
    """Clean models only, and a detector without a single answer."""
    results = [Result(f"m{n}", False, "clean", (), "", None, "shrugs", report(None)) for n in range(3)]
    return evaluation(results)


ALL = {"ordinary": ordinary, "hostile": hostile, "empty_handed": empty_handed}
