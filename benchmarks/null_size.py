"""The false-positive rate of the bootstrap p-value under i.i.d. statistics, by number of classes.

    python -m benchmarks.null_size [--out FILE.json] [--runs 2000]

Gamma and log-normal statistics; a calibrated test rejects a share of `level` of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.study.intervals import rate
from mmbd.null.bootstrap import bootstrap

Draw = Callable[[np.random.Generator, int], np.ndarray]
SHAPES: dict[str, Draw] = {
    "gamma 4": lambda generator, count: generator.gamma(4, size=count),
    "gamma 25": lambda generator, count: generator.gamma(25, size=count),
    "gamma 100": lambda generator, count: generator.gamma(100, size=count),
    "log-normal 0.2": lambda generator, count: np.exp(0.2 * generator.standard_normal(count)),
    "log-normal 0.6": lambda generator, count: np.exp(0.6 * generator.standard_normal(count)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result: dict[str, dict[str, str]] = {}
    for count in (5, 7, 10, 20, 43, 100, 200, 1000):
        for name, draw in SHAPES.items():
            generator = np.random.default_rng(count)
            runs = options.runs if count <= 200 else options.runs // 4
            p = np.array(
                [
                    bootstrap(draw(generator, count).tolist(), draws=2000, seed=run).p_value
                    for run in range(runs)
                ]
            )
            figures = {f"p <= {level}": rate(p <= level) for level in (0.05, 0.01)}
            result[f"K = {count}, {name}"] = figures
            print(f"{count:5} {name:16}", *figures.values(), flush=True)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
