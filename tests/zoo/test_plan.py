"""Plans: what a grid becomes, what takes precedence, and errors that name what is wrong."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from mmbd import attacks, nets
from mmbd.base.errors import Failed
from mmbd.training import loop as train
from mmbd.zoo import check, plan
from mmbd.zoo.presets import PRESETS

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "zoo.toml"
DATA = '[data.d]\ntrain = "a"\ntest = "b"\n'


def jobs(text: str):
    return plan.jobs(tomllib.loads(text))


def test_a_grid_is_the_product_of_its_parts():
    made = jobs(
        'seeds = [3, 5]\n[data.d]\ntrain = "a"\ntest = "b"\n[arch.lenet]\n[arch.wide]\n'
        'kind = "cnn"\nwidths = [32, 64]\n[attack.clean]\n[attack.faint]\nkind = "blend"\n'
        "alpha = 0.1\nsources = 2\n"
    )
    assert [job.name for job in made] == [
        f"d-{arch}-{attack}-{seed}"
        for arch in ("lenet", "wide")
        for attack in ("clean", "faint")
        for seed in (3, 5)
    ]
    last = made[-1]
    assert (last.arch.kind, last.arch.arguments) == ("cnn", {"widths": (32, 64)})
    assert (last.attack.kind, last.attack.sources) == ("blend", 2)
    assert last.attack.options == {"alpha": 0.1}
    assert (last.data.train, last.data.test, last.seed) == ("a", "b", 5)
    assert len({job.draw for job in made}) == len(made)
    assert [job.draw for job in made] == [
        job.draw
        for job in jobs(  # from the name alone
            'seeds = [3, 5]\n[data.d]\ntrain = "x"\ntest = "y"\n[arch.lenet]\n[arch.wide]\n'
            'kind = "cnn"\n[attack.clean]\n[attack.faint]\nkind = "badnet"\n'
        )
    ]


def test_blocks_choose_parts_and_overlap_without_harm():
    made = jobs(
        DATA + '[[grid]]\narch = "cnn"\nattack = ["clean", "badnet-S"]\nseeds = [0, 2]\n'
        '[[grid]]\narch = ["cnn", "mlp"]\nattack = "1-pixel-M"\nseeds = 1\n'
        '[[grid]]\narch = "cnn"\nattack = "clean"\nseeds = [2, 4]\n'
    )
    assert [job.name.removeprefix("d-") for job in made] == [
        "cnn-clean-0",
        "cnn-clean-2",
        "cnn-badnet-S-0",
        "cnn-badnet-S-2",
        "cnn-1-pixel-M-1",
        "mlp-1-pixel-M-1",
        "cnn-clean-4",
    ]
    by_name = {job.attack.name: job.attack for job in made}
    assert (by_name["badnet-S"].kind, by_name["badnet-S"].sources) == ("badnet", "S")
    assert (by_name["1-pixel-M"].kind, by_name["1-pixel-M"].sources) == ("1-pixel", "M")


def test_the_nearer_a_recipe_the_stronger():
    made = jobs(
        "[recipe]\nepochs = 2\nbatch = 8\nlr = 0.5\nweight_decay = 0.25\n"
        + DATA
        + "recipe = {batch = 16, lr = 0.5}\n[arch.mlp]\nrecipe = {lr = 0.125}\n"
        "[attack.clean]\n[attack.badnet-M]\nrecipe = {lr = 0.0625}\n"
    )
    clean, attacked = made
    assert clean.recipe == train.Recipe(epochs=2, batch=16, lr=0.125, weight_decay=0.25)
    assert attacked.recipe.lr == 0.0625


def test_a_preset_alone_is_a_plan():
    made = jobs('preset = "cifar10"')
    assert [job.name for job in made] == [
        f"cifar10-resnet18-{attack}-0"
        for attack in ("clean", *(f"{kind}-M" for kind in PRESETS["cifar10"].attack))
    ]
    badnet = next(job for job in made if job.attack.kind == "badnet")
    assert badnet.attack.options["count"] == 500  # Table 9
    assert (badnet.recipe.epochs, badnet.recipe.batch, badnet.recipe.lr) == (60, 128, 1e-3)
    assert badnet.data.train == "cifar10/train.parquet"


def test_the_plan_outweighs_its_preset():
    (job,) = jobs(
        '[recipe]\nepochs = 3\n[data.mine]\npreset = "cifar10-small"\ntrain = "here"\n'
        "[attack.badnet-S]\nrate = 0.2\n[arch.cnn]\nwidths = [4]\n"
    )
    usual = PRESETS["cifar10-small"]
    assert job.name == "mine-cnn-badnet-S-0"
    assert job.recipe.epochs == 3
    assert job.recipe.precision == usual.recipe["precision"]
    assert (job.data.train, job.data.test) == ("here", usual.data["test"])
    assert job.data.limit == usual.data["limit"]
    assert job.attack.options == {
        key: value for key, value in usual.attack["badnet"].items() if key != "count"
    } | {"rate": 0.2}
    assert job.arch.arguments == {"widths": (4,)}


def test_one_source_class_offers_less_than_all():
    single, many, own = jobs(
        'preset = "cifar10-small"\n[attack.own]\nkind = "badnet"\nsources = "S"\ncount = 3\n'
        '[[grid]]\narch = "cnn"\nattack = ["badnet-S", "badnet-M", "own"]\n'
    )
    usual = PRESETS["cifar10-small"]
    assert single.attack.options["count"] == usual.single
    assert many.attack.options["count"] == usual.attack["badnet"]["count"]
    assert own.attack.options["count"] == 3
    (batchwise,) = jobs('preset = "cifar10-small"\n[[grid]]\narch = "cnn"\nattack = "wanet-S"')
    assert "count" not in batchwise.attack.options


def test_many_sources_are_ten_in_tinyimagenet():
    made = jobs('preset = "tinyimagenet"\n[[grid]]\nattack = ["badnet-M", "badnet-S"]')
    assert [job.attack.sources for job in made] == [10, "S"]
    assert made[0].attack.options == {"count": 500, "size": 5}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_name_what_there_is(name):
    preset = PRESETS[name]
    check.recipe(preset.recipe, name)
    for kind, arguments in preset.arch.items():
        known = check.parameters(nets.ARCHITECTURES[kind].make)
        assert set(arguments) <= {*known, "recipe"}
        check.recipe(arguments.get("recipe", {}), name)
    for kind, options in preset.attack.items():
        if kind in attacks.ATTACKS:
            assert set(options) <= {*check.options(kind), "sources"}
    assert jobs(f'preset = "{name}"\n[[grid]]\nattack = "clean"')


def test_settings_are_json_and_say_everything():
    (job,) = jobs(DATA + "mean = 0.5\nstd = [0.5, 0.25, 0.1]\n[arch.cnn]\n[attack.clean]")
    assert job.data.mean == (0.5,)
    settings = json.loads(json.dumps(job.settings()))
    assert settings["data"]["std"] == [0.5, 0.25, 0.1]
    assert settings["recipe"]["epochs"] == 10
    assert settings["draw"] == job.draw


def test_private_training_belongs_to_a_network():
    (job,) = jobs(DATA + '[arch.dp]\nkind = "lenet"\nprivate = {noise = 0.1, bound = 2}')
    assert job.arch.private == {"noise": 0.1, "bound": 2}
    assert job.arch.arguments == {}


GRID = DATA + "[[grid]]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede = [1]", r"the plan: unknown option 'sede'; did you mean 'seeds'\?"),
        ('preset = "cifar-10"', r"unknown preset 'cifar-10'; did you mean 'cifar10'\?"),
        ('seeds = [1]\n[[grid]]\narch = "cnn"', "the plan names no data"),
        (DATA, "the plan names no network"),
        (GRID + 'data = "cifra10"', r"unknown data set 'cifra10'; did you mean 'cifar10'\?"),
        (GRID + 'data = "dd"\narch = "cnn"', r"unknown data set 'dd'; did you mean 'd'\?"),
        (GRID + 'arch = "resnet188"', r"architecture 'resnet188'; did you mean 'resnet18'\?"),
        (GRID + 'arch = "cnn"\nattack = "badnets-M"', r"'badnets-M'; did you mean 'badnet-M'\?"),
        (GRID + 'arch = "cnn"\nattack = [1]', "attack in .* a name or a list of names"),
        (GRID + 'arch = "../x"', r"arch '../x': names are of letters"),
        (GRID + "seeds = [1, 1]", "seeds: expected different whole numbers"),
        (GRID + "seeds = [-1]", "seeds: expected different whole numbers"),
        (GRID + "seeds = [true]", "seeds: expected different whole numbers"),
        (GRID + "seeds = []", "seeds: expected different whole numbers"),
        ("grid = 3\n" + DATA, "every part of the grid as a block"),
        ('[data.d]\ntrain = "a"', r"\[data.d\] lacks test"),
        (DATA + "sizes = [32, 32]", r"\[data.d\]: unknown option 'sizes'; did you mean 'size'\?"),
        (DATA + "size = 32\n[arch.cnn]", r"size in \[data.d\]: expected tuple\[int, int\]"),
        (DATA + "limit = true\n[arch.cnn]", r"limit in \[data.d\]: expected int"),
        (DATA + "classes = [1.5]\n[arch.cnn]", r"classes in \[data.d\]"),
        (DATA + "[arch.cnn]\nwidth = 3", r"\[arch.cnn\]: unknown argument 'width'; .* widths"),
        (DATA + '[arch.a]\nkind = "cn"', r"\[arch.a\]: unknown architecture 'cn'"),
        (DATA + "[arch.cnn]\nrecipe = 3", r"recipe in \[arch.cnn\]: expected a table"),
        (DATA + "[arch.cnn]\nprivate = {sigma = 1}", "private in \\[arch.cnn\\]: unknown option 'sigma'"),
        (DATA + "[arch.cnn]\nstart = 3", r"start in \[arch.cnn\]: expected a text, got 3"),
        (DATA + '[arch.cnn]\nstart = "a.pt"', r"start in \[arch.cnn\]: expected a model's .safetensors"),
        ("arch = 3\n" + DATA, "arch in the plan: expected a table"),
        (DATA + "[arch.cnn]\n[attack.badnet-M]\ncuont = 3", r"'cuont'; did you mean 'count'\?"),
        (DATA + '[arch.cnn]\n[attack.badnet-M]\ncount = "3"', r"count in .*: expected int \| None"),
        (DATA + '[arch.cnn]\n[attack.all-to-all]\norder = "last"', r"order in .*: expected .*next"),
        (DATA + "[arch.cnn]\n[attack.blend-M]\nalpha = true", "alpha in .*: expected float"),
        (DATA + "std = [0.2, 0]\n[arch.cnn]", r"std in \[data.d\]: expected more than 0"),
        (DATA + '[arch.cnn]\n[attack.x]\nkind = "y"', r"\[attack.x\]: unknown attack 'y'"),
        (DATA + "[arch.cnn]\n[attack.x]", "unknown attack 'x';"),
        (DATA + '[arch.cnn]\n[attack.badnet-M]\nsources = "L"', r'expected "M" \(all other'),
        (DATA + "[arch.cnn]\n[attack.badnet-M]\nsources = []", r'expected "M" \(all other'),
        (DATA + "[arch.cnn]\n[attack.badnet-M]\ntarget = 0.5", "a class by number or name"),
        ("[recipe]\nepoch = 3\n" + DATA, r"\[recipe\]: unknown option 'epoch'"),
        ('[recipe]\nepochs = "3"\n' + DATA, r"epochs in \[recipe\]: expected int, got '3'"),
        ("[recipe]\nlr = 0\n" + DATA, r"lr in \[recipe\]: expected more than 0"),
        ('[recipe]\noptimizer = "lion"\n' + DATA, r"\[recipe\]: unknown optimizer 'lion'"),
        ('[recipe]\naugment = ["cutout"]\n' + DATA, r"\[recipe\]: unknown augmentation 'cutout'"),
        (DATA + 'recipe = {precision = "half"}', r"in \[data.d\]: unknown precision 'half'"),
        (
            'seeds = 0\n[data.d]\ntrain="a"\ntest="b"\n[data.d-cnn]\ntrain="a"\ntest="b"\n'
            '[arch.cnn]\n[arch.cnn-cnn]\nkind="cnn"',
            "two different models would be named",
        ),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        jobs(text)


def test_a_plan_from_a_file_names_the_file(tmp_path):
    file = tmp_path / "plan.toml"
    file.write_text("seeds = [")
    with pytest.raises(ValueError, match=r"plan\.toml: "):
        plan.read(file)
    file.write_bytes(b"\xff")
    with pytest.raises(Failed, match=r"plan\.toml: expected text in UTF-8"):
        plan.read(file)
    for text, message in (
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("seeds = " + "9" * 5000, "a number has thousands"),
        (DATA + "[recipe]\nlr = nan", "lr in .*expected float"),
        (DATA + "[recipe]\nlr = inf", "lr in .*expected float"),
        (DATA.replace("[data.d]", "[data.d]\nstd = 'x'"), "std in .*expected tuple"),
        (DATA.replace("[data.d]", "[data.d]\nstd = [[1.0]]"), "std in .*expected tuple"),
    ):
        file.write_text(text)
        with pytest.raises(Failed, match=rf"plan\.toml: .*{message}"):
            plan.read(file)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(Failed, match=r"plan\.toml: expected a regular file, found a FIFO"):
        plan.read(file)
    file.unlink()
    file.write_text('preset = "cifar10-small"\ndevice = "cpu"')
    assert {job.device for job in plan.read(file, device="cuda")} == {"cuda"}
    with pytest.raises(FileNotFoundError):
        plan.read(tmp_path / "none.toml")


def test_the_example_is_a_development_zoo():
    made = plan.read(EXAMPLE)
    assert len(made) >= 40
    assert {job.data.name for job in made} == {"cifar10-small", "gtsrb-small"}
    assert len({job.arch.kind for job in made}) >= 3
    clean = sum(job.attack.kind == "clean" for job in made)
    assert 0.45 < clean / len(made) < 0.55
    for parity in (0, 1):  # both halves have every attack on both data sets
        half = {(job.data.name, job.attack.name) for job in made if job.seed % 2 == parity}
        classical = ("badnet", "unicolor", "1-pixel", "chessboard", "blend")
        assert half == {
            (data, attack)
            for data in ("cifar10-small", "gtsrb-small")
            for attack in ("clean", "wanet-M", *(f"{k}-{s}" for k in classical for s in "SM"))
        }
