"""Networks with tied weights: written in every form, read back, and still tied after a repair."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from helpers.toy_victims import SHAPE, pictures
from mitigators.test_contract import SHORT
from mmbd.base.errors import Failed
from mmbd.cli import main
from mmbd.formats import export
from mmbd.formats.export import NotExported
from mmbd.formats.load import load
from mmbd.formats.spec import Spec, unshared
from mmbd.mitigators import MITIGATORS, mitigate
from mmbd.mitigators.mitigator import duplicate
from mmbd.model.classifier import Classifier

ARCH = f"{Path(__file__)}:Tied"
KEPT = set(MITIGATORS) - {"unlearning"}


class Tied(nn.Module):
    """One convolution used twice under two names, and buffers that lie in each other's memory."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.mid = nn.Conv2d(8, 8, 3, padding=1)
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.again.weight = self.mid.weight
        self.head = nn.Linear(8, classes)
        shift = torch.linspace(-0.1, 0.1, 16).reshape(2, 8)
        self.register_buffer("shift", shift)
        self.register_buffer("first", shift[0])  # a part of it
        self.register_buffer("turned", shift.T)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x = F.relu(self.mid(x)) + self.first[:, None, None]
        x = F.relu(self.again(x)).mean((2, 3)) + self.turned.sum(1)
        return self.head(x)


def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(Tied(), input_shape=SHAPE)


def inputs() -> torch.Tensor:
    return torch.rand(7, *SHAPE, generator=torch.Generator().manual_seed(3))


def test_every_name_gets_memory_of_its_own():
    state = classifier().model.state_dict() | {
        "one number eight times": torch.full((1,), 1.5).expand(8),
        "part": torch.arange(9.0)[3:5],
        "none": torch.zeros(0, 3),
        "none too": torch.zeros(0),
        "last": torch.rand(1, 3, 4, 4).contiguous(memory_format=torch.channels_last),
    }
    made = unshared(state)
    assert list(made) == list(state)
    for name, value in state.items():
        assert torch.equal(made[name], value)
        assert made[name].is_contiguous()
        assert made[name].untyped_storage().nbytes() == value.nbytes
    addresses = [value.data_ptr() for value in made.values() if value.numel()]
    assert len(set(addresses)) == len(addresses) == len(made) - 2
    assert made["conv.weight"].data_ptr() == state["conv.weight"].data_ptr()  # no copy for nothing


def test_safetensors_are_read_back_tied(tmp_path):
    clf, file = classifier(), tmp_path / "tied.safetensors"
    spec = Spec.of(clf, ARCH)
    export.safetensors(clf, file, spec)
    written = load_file(file)
    assert set(written) == set(clf.model.state_dict())
    assert torch.equal(written["mid.weight"], written["again.weight"])
    back = load(file, arch=Tied, input_shape=SHAPE).classifier
    assert torch.equal(back(inputs()), clf(inputs()))
    assert back.model.again.weight is back.model.mid.weight


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_other_forms_answer_alike(tmp_path):
    clf, x = classifier(), inputs()
    torch.save(export.plain(clf), tmp_path / "tied.pt")
    plain = torch.load(tmp_path / "tied.pt", weights_only=False)
    export.torch_export(clf, tmp_path / "tied.pt2")
    archive = torch.export.load(tmp_path / "tied.pt2").module()
    for module in (plain, archive):
        torch.testing.assert_close(module(x), clf(x), atol=1e-5, rtol=0)
    runtime = pytest.importorskip("onnxruntime")
    export.onnx(clf, tmp_path / "tied.onnx")
    session = runtime.InferenceSession(tmp_path / "tied.onnx", providers=["CPUExecutionProvider"])
    logits = torch.from_numpy(session.run(None, {"inputs": x.numpy()})[0])
    torch.testing.assert_close(logits, clf(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", sorted(KEPT))
def test_a_repaired_network_stays_tied(method, tmp_path):
    clf, samples = classifier(), pictures(16)
    copied = duplicate(clf)
    assert copied.again.weight is copied.mid.weight
    assert copied.again.weight is not clf.model.again.weight
    repaired, record = mitigate(clf, samples.inputs, method=method, **SHORT[method])
    assert record.changed, record.reason
    network = getattr(repaired.model, "network", repaired.model)
    assert network.again.weight is network.mid.weight
    file = tmp_path / "repaired.safetensors"
    export.safetensors(repaired, file, Spec.of(repaired, ARCH))
    back = load(file, arch=Tied, input_shape=SHAPE).classifier
    torch.testing.assert_close(back(inputs()), repaired(inputs()), atol=1e-6, rtol=0)


def test_fix_writes_a_repaired_tied_network(tmp_path, capsys):
    torch.manual_seed(0)
    samples, network = pictures(160), Tied()
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    x = samples.inputs.float() / 255
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(network(x), samples.labels).backward()
        optimiser.step()
    torch.save(network.state_dict(), tmp_path / "tied.pt")
    for index, image in enumerate(samples.inputs):
        folder = tmp_path / "clean" / str(index % 4)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
    out = tmp_path / "fixed.safetensors"
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "fix",
                str(tmp_path / "tied.pt"),
                "--arch",
                ARCH,
                "--input",
                "3x8x8",
                "--data",
                str(tmp_path / "clean"),
                "--no-rescan",
                "--quiet",
                "--out",
                str(out),
                "--option",
                "steps=2",
                "--option",
                "accuracy=0",
                "--keep",
            ]
        )
    # There is no backdoor in it, so none is shown to be reduced.
    assert stopped.value.code == 3, capsys.readouterr()
    assert load(out, arch=ARCH, input_shape=SHAPE).classifier(inputs()).shape == (7, 4)


# ---------------------------------------------------------- what can be written is known early


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        return self.last(x) if x.sum() > 0 else -self.last(x)


def test_what_cannot_be_written_is_known_before(monkeypatch):
    branching, fine = Classifier(Branching(), input_shape=(4,)), classifier()
    for suffix in (".pt", ".pt2", ".onnx"):
        export.check(fine, suffix, lambda: pytest.fail("not asked"))
        with pytest.raises(NotExported, match="cannot"):
            export.check(branching, suffix, lambda: pytest.fail("not asked"))
    export.check(branching, ".safetensors", lambda: Spec.of(branching, "x.py:Branching"))
    with pytest.raises(NotExported, match=r"no words for this network: .*write"):
        export.check(fine, ".safetensors", lambda: Spec.of(fine, ARCH, {"a": object()}))

    def wordless() -> Spec:
        raise ValueError("in a box of its own")

    with pytest.raises(NotExported, match="in a box of its own"):
        export.check(fine, ".safetensors", wordless)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'mmbd\[onnx\]'"):
        export.check(fine, ".onnx", wordless)
    assert issubclass(NotExported, Failed)  # exit 2 from the command line


def test_a_network_with_more_than_tensors_in_its_state(tmp_path):
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"anything": 1}

        def set_extra_state(self, state) -> None:
            pass

    clf = Classifier(nn.Sequential(Extra(4, 3)), input_shape=(4,))
    with pytest.raises(NotExported, match="would not load again as x"):
        export.safetensors(clf, tmp_path / "x.safetensors", Spec.of(clf, "x"))
    assert not list(tmp_path.iterdir())
