"""The paper's figures that the scripts print beside ours; percentages as printed."""

from __future__ import annotations

# Table 1, the row of MM-BD: detection accuracy by data set and ensemble.
DETECTION: dict[str, dict[str, float]] = {
    "cifar10": {
        "clean": 86.7,
        "chessboard-S": 86.7,
        "chessboard-M": 90.0,
        "1-pixel-S": 83.3,
        "1-pixel-M": 100.0,
        "badnet-S": 90.0,
        "badnet-M": 100.0,
        "unicolor-S": 76.7,
        "unicolor-M": 100.0,
        "blend-S": 86.7,
        "blend-M": 100.0,
    },
    "cifar100": {"clean": 100.0, "1-pixel-M": 100.0, "badnet-M": 100.0, "unicolor-M": 90.0},
    "tinyimagenet": {"clean": 100.0, "badnet-M": 90.0},
    "gtsrb": {"clean": 90.0, "chessboard-M": 73.3, "1-pixel-M": 100.0, "unicolor-M": 86.7, "blend-M": 100.0},
}
# Table 1, CIFAR-10, all rows: the ensembles in the paper's order, then by our detectors' names the clean
# images a class and the accuracies.
RIVAL_ENSEMBLES = (
    "clean",
    *(
        f"{kind}-{sources}"
        for kind in ("chessboard", "1-pixel", "badnet", "unicolor", "blend")
        for sources in "SM"
    ),
)
RIVALS: dict[str, tuple[int, tuple[float, ...]]] = {
    "neural-cleanse": (10, (56.7, 66.7, 100.0, 56.7, 36.7, 93.3, 96.7, 90.0, 76.7, 36.7, 33.3)),
    "tabor": (10, (70.0, 70.0, 93.3, 73.3, 93.3, 63.3, 73.3, 26.7, 66.7, 73.3, 86.7)),
    "abs": (1, (93.3, 26.7, 66.7, 66.7, 80.0, 46.7, 96.7, 73.3, 46.7, 80.0, 90.0)),
    "meta": (10_000, (73.3, 76.7, 60.0, 10.0, 6.7, 83.3, 83.3, 30.0, 30.0, 76.7, 86.7)),
    "tnd": (5, (50.0, 10.0, 26.7, 46.7, 83.3, 20.0, 33.3, 6.7, 3.3, 40.0, 56.7)),
    "pt-red": (100, (76.7, 100.0, 96.7, 93.3, 100.0, 23.3, 13.3, 16.7, 23.3, 46.7, 63.3)),
    "pt-red + abs": (100, (66.7, 100.0, 100.0, 93.3, 100.0, 56.7, 96.7, 76.7, 56.7, 86.7, 96.7)),
    "mm-bd": (0, (86.7, 86.7, 90.0, 83.3, 100.0, 90.0, 100.0, 76.7, 100.0, 86.7, 100.0)),
}
# Table 2: seconds a model on an RTX 3090, by our detectors' names.
SECONDS: dict[str, dict[str, float]] = {
    "neural-cleanse": {"cifar10": 308.4, "cifar100": 800.4, "tinyimagenet": 11227.0, "gtsrb": 412.5},
    "tabor": {"cifar10": 57.7, "cifar100": 341.1, "tinyimagenet": 10792.2, "gtsrb": 138.7},
    "abs": {"cifar10": 50.3, "cifar100": 234.6, "tinyimagenet": 819.1, "gtsrb": 92.8},
    "tnd": {"cifar10": 591.9, "cifar100": 8207.3, "tinyimagenet": 53530.8, "gtsrb": 1161.0},
    "pt-red": {"cifar10": 342.5},
    "mm-bd": {"cifar10": 27.2, "cifar100": 114.8, "tinyimagenet": 503.4, "gtsrb": 37.1},
}
# Table 5: PR, ACC, ASR, detected of how many.
ADVANCED: dict[str, tuple[float, float, float, str]] = {
    "clean-label-0.4": (0.4, 89.34, 11.27, "1/10"),
    "clean-label-1.5": (1.5, 89.20, 65.13, "6/10"),
    "clean-label-6": (6, 88.34, 88.26, "8/10"),
    "clean-label-25": (25, 88.68, 94.13, "10/10"),
    "input-aware": (10, 90.73, 99.42, "8/10"),
    "wanet": (10, 91.02, 96.45, "10/10"),
    "multi-trigger-0.16": (0.16, 91.41, 81.50, "1/1"),
    "multi-trigger-0.4": (0.4, 91.14, 97.03, "1/1"),
    "multi-trigger-1": (1, 90.97, 99.93, "1/1"),
}
# Table 5's last rows and the text of sections 6.6 and 7.1: ACC and ASR after MM-BM.
ADVANCED_MITIGATION = {
    "clean-label-0.4": (86.77, 1.68),
    "clean-label-1.5": (86.88, 1.65),
    "clean-label-6": (86.71, 1.64),
    "clean-label-25": (86.06, 1.82),
    "input-aware": (87.21, 12.30),
    "wanet": (86.71, 8.74),
    "multi-trigger-0.16": (90.10, 2.32),
    "multi-trigger-0.4": (89.88, 3.50),
    "multi-trigger-1": (89.74, 1.13),
    "adaptive": (85.8, 2.3),
    "all-to-all": (89.3, 1.7),
}
# Table 6: ACC, ASR, right of ten, for clean and attacked classifiers.
DOMAINS: dict[str, tuple[float, float | None, str]] = {
    "speech clean": (81.4, None, "10/10"),
    "speech attacked": (80.3, 99.4, "10/10"),
    "point cloud clean": (91.0, None, "8/10"),
    "point cloud attacked": (87.5, 99.0, "7/10"),
}
# Table 7: level -> FPR, TPR on CIFAR-10.
LEVELS = {0.05: (11.3, 91.3), 0.02: (11.3, 88.0), 0.01: (6.7, 85.3), 0.005: (0.0, 82.3)}
# Table 9: poisoned images, ASR, ACC.
ENSEMBLES: dict[str, dict[str, tuple[int, float | None, float]]] = {
    "cifar10": {
        "clean": (0, None, 91.64),
        "chessboard-S": (2000, 99.94, 91.31),
        "chessboard-M": (2000, 99.94, 91.06),
        "1-pixel-S": (1000, 91.09, 91.80),
        "1-pixel-M": (1000, 91.28, 91.12),
        "badnet-S": (500, 99.41, 91.63),
        "badnet-M": (500, 99.92, 91.59),
        "unicolor-S": (500, 97.78, 91.31),
        "unicolor-M": (500, 98.44, 91.36),
        "blend-S": (1000, 96.36, 91.35),
        "blend-M": (1000, 96.86, 91.48),
    },
    "cifar100": {
        "clean": (0, None, 67.51),
        "1-pixel-M": (990, 95.67, 65.40),
        "badnet-M": (990, 99.84, 66.17),
        "unicolor-M": (990, 97.37, 66.51),
    },
    "tinyimagenet": {"clean": (0, None, 60.71), "badnet-M": (500, 97.84, 58.59)},
    "gtsrb": {
        "clean": (0, None, 94.78),
        "chessboard-M": (1680, 99.80, 94.54),
        "1-pixel-M": (840, 99.20, 94.12),
        "unicolor-M": (840, 95.80, 94.56),
        "blend-M": (840, 100.0, 94.53),
    },
}
# Table 11: right of ten (twenty clean on GTSRB).
COMPLETE: dict[str, dict[str, str]] = {
    "cifar100": {
        "clean": "10/10",
        "chessboard-M": "6/10",
        "1-pixel-M": "10/10",
        "badnet-M": "10/10",
        "unicolor-M": "10/10",
        "blend-M": "10/10",
    },
    "gtsrb": {
        "clean": "17/20",
        "chessboard-M": "7/10",
        "1-pixel-M": "10/10",
        "badnet-M": "10/10",
        "unicolor-M": "9/10",
        "blend-M": "10/10",
    },
}
# Table 3, CIFAR-10: clean images a class, and ASR and ACC (mean) by ensemble. Without mitigation
# first; our methods' names.
MITIGATION_ENSEMBLES = (
    "chessboard-S",
    "chessboard-M",
    "1-pixel-S",
    "1-pixel-M",
    "badnet-S",
    "badnet-M",
    "unicolor-S",
    "unicolor-M",
    "blend-S",
    "blend-M",
)
MITIGATION: dict[str, tuple[int, tuple[float, ...], tuple[float, ...]]] = {
    "none": (
        0,
        (99.9, 99.9, 91.1, 91.3, 99.4, 99.9, 97.8, 98.4, 96.4, 96.9),
        (91.3, 91.1, 91.8, 91.1, 91.6, 91.6, 91.3, 91.4, 91.4, 91.5),
    ),
    "nc-m": (
        500,
        (39.5, 38.5, 26.9, 61.2, 21.8, 28.3, 55.9, 93.2, 13.4, 47.5),
        (87.0, 87.7, 90.8, 86.0, 84.9, 76.7, 86.0, 85.1, 88.4, 88.2),
    ),
    "fine-pruning": (
        500,
        (31.9, 52.4, 61.1, 71.6, 86.7, 89.5, 89.2, 86.9, 65.4, 75.5),
        (90.7, 90.6, 91.2, 91.5, 91.2, 91.6, 91.3, 90.9, 91.6, 91.6),
    ),
    "distillation": (
        250,
        (3.2, 3.0, 3.6, 2.2, 8.8, 4.0, 3.9, 1.8, 1.7, 2.1),
        (82.7, 81.1, 83.5, 84.3, 87.5, 88.1, 82.5, 82.8, 87.0, 88.4),
    ),
    "mm-bm-paper": (
        20,
        (99.4, 99.5, 7.8, 9.0, 3.1, 1.8, 12.2, 5.0, 10.8, 9.9),
        (90.4, 90.7, 87.4, 88.3, 87.2, 90.6, 89.8, 89.8, 88.7, 90.8),
    ),
    "mm-bm-fine-pruning": (
        500,
        (55.2, 53.1, 2.4, 2.4, 1.2, 1.7, 1.2, 1.2, 2.3, 2.3),
        (90.1, 90.2, 90.1, 89.7, 90.0, 90.2, 90.5, 90.2, 89.6, 89.9),
    ),
}
# Table 4: seconds of a repair on an RTX 3090.
MITIGATION_SECONDS = {"nc-m": 40.7, "fine-pruning": 42.8, "distillation": 34.2, "mm-bm-paper": 25.3}
# Table 10: MM-BM elsewhere: ASR and ACC before and after.
MITIGATION_ELSEWHERE: dict[tuple[str, str], tuple[float, float, float, float]] = {
    ("cifar100", "1-pixel-M"): (95.7, 13.5, 65.4, 61.7),
    ("cifar100", "badnet-M"): (99.8, 1.5, 66.2, 65.0),
    ("cifar100", "unicolor-M"): (97.4, 16.9, 66.5, 64.9),
    ("tinyimagenet", "badnet-M"): (97.8, 1.3, 58.6, 58.0),
    ("gtsrb", "chessboard-M"): (99.8, 78.2, 94.5, 94.0),
    ("gtsrb", "1-pixel-M"): (99.2, 26.8, 94.1, 95.0),
    ("gtsrb", "unicolor-M"): (95.8, 11.3, 94.6, 95.2),
    ("gtsrb", "blend-M"): (100.0, 1.5, 94.5, 95.4),
}
