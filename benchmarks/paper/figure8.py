"""Figure 8: what alpha, the factor of lambda, does to Algorithm 1, on one backdoored model.

See `common.py` for the command line. Ours runs a set number of iterations; the one at which the
returned bounds were found stands for the paper's stopping condition.
"""

from __future__ import annotations

import torch

from benchmarks.paper.common import models, options, show
from benchmarks.paper.mitigations import IMAGES, defended, working
from mmbd.data.dataset import split
from mmbd.formats.load import load
from mmbd.triggers import files
from mmbd.workflows import repair as fixing

ALPHAS = (1.02, 1.05, 1.1, 1.2, 1.5, 2.0)


def main() -> None:
    chosen = options(__doc__)
    torch.set_num_threads(1)
    folder = models(chosen, "classical")
    card = working(folder, "badnet-M")
    given, held_out = defended(card["settings"]["data"], chosen.data)
    learn, _ = split(given, IMAGES["mm-bm-paper"], seed=card["seed"])
    backdoor = files.load(folder / card["trigger_file"])
    table = []
    for alpha in ALPHAS:
        _, outcome = fixing.fix(
            load(folder / card["file"]).classifier,
            learn,
            held_out,
            method="mm-bm-paper",
            backdoor=backdoor,
            options={"growth": alpha},
        )
        curves = outcome.record.curves
        feasible = [
            (norm, step)
            for step, (norm, kept) in enumerate(zip(curves["norm"], curves["kept"], strict=True))
            if kept >= 0.95
        ]
        accuracy, success = outcome.accuracy or (0, 0), outcome.attack_success or (0, 0)
        table.append((alpha, 100 * accuracy[1], 100 * success[1], min(feasible)[1] + 1))
    show(f"Figure 8: {card['name']}", ("alpha", "ACC", "ASR", "iteration of the bounds"), table, chosen)


if __name__ == "__main__":
    main()
