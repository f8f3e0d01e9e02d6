"""Runtimes: what runs a vision model gives torch's vectors, is chosen by measuring, and is found again."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fpve.config import EncoderConfig
from fpve.encoders import open_image_encoder, runtimes
from fpve.encoders.runtimes import cache, choice, machine, openvino
from fpve.encoders.runtimes.cache import Entry, recalled, version_of
from fpve.encoders.runtimes.convolutions import exact_convolutions
from fpve.encoders.runtimes.eager import EagerRuntime, padded
from fpve.encoders.runtimes.machine import cores
from fpve.encoders.runtimes.probes import probe_pictures
from fpve.encoders.runtimes.quantise import quantisation
from fpve.encoders.runtimes.threads import as_many_as_are_free, one_thread
from fpve.errors import EncoderError

LITE0 = "efficientnet-lite0"
SIDE = 32


class Network(torch.nn.Module):
    """A convolution and a mean: pictures (n, side, side, 3) uint8 to features (n, 8)."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.layer = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.shift = shift

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features."""
        features = self.layer(pixels.permute(0, 3, 1, 2).to(self.layer.weight.dtype) / 255 - 0.5)
        return features.relu().mean((2, 3)) + self.shift


class Sorting(Network):
    """What OpenVINO's converter knows nothing of."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features."""
        return torch.linalg.qr(super().forward(pixels).T)[0].T


class Model:
    """A subject of runtimes."""

    name = "tiny"
    side = SIDE

    def __init__(self, network: torch.nn.Module, fingerprint: str, precision: Any = "fp32") -> None:
        self.network = network
        self.fingerprint = fingerprint
        self.precision = precision
        self.made = 0

    def pixel_network(self) -> torch.nn.Module:
        """Make it."""
        self.made += 1
        return self.network.eval().requires_grad_(requires_grad=False)


@pytest.fixture(autouse=True)
def no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    """No runtime is settled from outside, and none is measured for long."""
    monkeypatch.delenv("FPVE_RUNTIME", raising=False)
    monkeypatch.setattr(choice, "_SECONDS", 0.02)


def worst_cosine(left: np.ndarray, right: np.ndarray) -> float:
    """The smallest cosine of a pair of rows."""
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float((np.einsum("nd,nd->n", left.astype(np.float64), right) / norms).min())


def test_openvino_gives_the_vectors_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """EfficientNet-Lite0 in both, over clouds, shapes and drawings: cosines above 0.99999."""
    pictures = probe_pictures(224, 12)
    rows = {}
    for runtime in ("torch", "openvino"):
        monkeypatch.setenv("FPVE_RUNTIME", runtime)
        encoder = open_image_encoder(EncoderConfig(LITE0, device="cpu"))
        rows[runtime] = encoder.encode(pictures)
    assert worst_cosine(rows["torch"], rows["openvino"]) > 0.99999
    assert rows["openvino"].dtype == np.float32


def test_rows_do_not_depend_on_their_batch() -> None:
    """One picture at a time or five: the same rows to rounding, and whatever is asked for is answered."""
    runtime = choice.open_on_cpu(Model(Network(), "batches"))
    pictures = probe_pictures(SIDE, 5)
    alone = np.concatenate([runtime.encode(pictures[at : at + 1]) for at in range(5)])
    np.testing.assert_allclose(runtime.encode(pictures), alone, rtol=1e-5, atol=1e-6)


def test_the_fastest_runtime_is_chosen_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What measured faster is opened again without measuring, and without making a network that is converted."""
    for best in ("openvino", "torch"):
        with monkeypatch.context() as patch:
            patch.setattr(choice, "_rate", lambda runtime, _, best=best: 2.0 if runtime.name.startswith(best) else 1.0)
            assert choice.open_on_cpu(Model(Network(), best)).name.startswith(best)
        again = Model(Network(), best)
        with monkeypatch.context() as patch:
            patch.setattr(choice, "_rate", None)
            assert choice.open_on_cpu(again).name.startswith(best)
        assert again.made == (0 if best == "openvino" else 1)


def test_a_converted_model_is_opened_without_torch() -> None:
    """A process that encodes a picture with a known model does not import torch: that alone takes seconds."""
    if machine.may_have_gpu():
        pytest.skip("to find out what the GPU can do takes torch")
    code = (
        "import sys, numpy as np\n"
        "from fpve.config import EncoderConfig\n"
        "from fpve.encoders import open_image_encoder\n"
        "open_image_encoder(EncoderConfig('efficientnet-lite0')).encode(np.zeros((1, 224, 224, 3), np.uint8))\n"
        "print('torch' in sys.modules)\n"
    )
    environment = {**os.environ, "FPVE_RUNTIME": "openvino"}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_network_that_can_not_be_converted_runs_in_torch(caplog: pytest.LogCaptureFixture) -> None:
    """It encodes, the log says why it is slow, and the next time nobody tries to convert it."""
    with caplog.at_level(logging.INFO, "fpve"):
        runtime = choice.open_on_cpu(Model(Sorting(), "sorting"))
    assert runtime.name.startswith("torch")
    assert runtime.encode(probe_pictures(SIDE, 3)).shape == (3, 8)
    assert "encoder tiny: runs in torch, for OpenVINO can't run it" in caplog.text
    kept = Entry(Model(Sorting(), "sorting")).choice()
    assert kept is not None
    assert kept["runtime"] == "torch"


def out_of_memory() -> Exception:
    """What torch says when there is not enough of it."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), MemoryError(), ImportError("half"), out_of_memory()]
)
def test_what_may_pass_is_not_remembered(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk makes one run slow, with a warning, and not all that follow."""

    def fail(*_: Any) -> None:
        raise error

    model = Model(Network(), f"transient {error!r}")
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "fpve"):
        patch.setattr(choice, "convert", fail)
        assert choice.open_on_cpu(model).name.startswith("torch")
    assert [record.levelname for record in caplog.records if "in torch this time" in record.message] == ["WARNING"]
    assert Entry(model).choice() is None
    assert not list(Entry(model).network.parents[1].iterdir())


def test_a_network_that_can_not_be_written_is_an_oserror(tmp_path: Path) -> None:
    """OpenVINO makes a RuntimeError of a full disk, from which nobody could tell it."""
    full = tmp_path / "model.bin"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"model.xml can't be written"):
        openvino.convert(Network().eval(), SIDE, tmp_path / "model.xml")


def test_a_runtime_with_other_vectors_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that changes vectors is found out before it is used, however fast it is."""
    other = Network(shift=0.5).eval()
    convert = openvino.convert
    monkeypatch.setattr(choice, "convert", lambda network, side, file: convert(other, side, file))
    assert choice.open_on_cpu(Model(Network(), "other")).name.startswith("torch")


def test_a_cache_that_can_not_be_written_is_done_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the cache is a file, say, every process converts anew."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FPVE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(choice, "_rate", lambda runtime, _: float(runtime.name.startswith("openvino")))
    runtime = choice.open_on_cpu(Model(Network(), "nowhere"))
    assert runtime.name.startswith("openvino")
    assert runtime.encode(probe_pictures(SIDE, 2)).shape == (2, 8)


def test_a_damaged_choice_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that was cut off, or whose network was deleted, is as good as none."""
    monkeypatch.setattr(choice, "_rate", lambda runtime, _: float(runtime.name.startswith("openvino")))
    choice.open_on_cpu(Model(Network(), "damaged"))
    entry = Entry(Model(Network(), "damaged"))
    next(entry.network.parents[1].glob("*.json")).write_text("{")
    assert entry.choice() is None
    assert choice.open_on_cpu(Model(Network(), "damaged")).name.startswith("openvino")
    entry.network.unlink()
    assert entry.choice() is None
    assert choice.open_on_cpu(Model(Network(), "damaged")).name.startswith("openvino")
    assert entry.choice() == {"runtime": "openvino", "pictures_per_second": {"openvino": 1.0, "torch": 0.0}}


def cut(content: bytes) -> bytes:
    """Half of it."""
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    """One bit of it changed."""
    return content[:101] + bytes([content[101] ^ 0x40]) + content[102:]


@pytest.mark.parametrize(("suffix", "damage"), [(".xml", cut), (".bin", cut), (".bin", flip), (".bin", lambda _: b"")])
def test_a_damaged_network_is_converted_again(suffix: str, damage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a traceback nor other vectors: what is not as it was written is made again, and then found again."""
    monkeypatch.setattr(choice, "_rate", lambda runtime, _: float(runtime.name.startswith("openvino")))
    pictures = probe_pictures(SIDE, 2)
    expected = choice.open_on_cpu(Model(Network(), "broken")).encode(pictures)
    file = Entry(Model(Network(), "broken")).network.with_suffix(suffix)
    file.write_bytes(damage(file.read_bytes()))
    again = Model(Network(), "broken")
    np.testing.assert_array_equal(choice.open_on_cpu(again).encode(pictures), expected)
    assert again.made == 1
    found = Model(Network(), "broken")
    assert choice.open_on_cpu(found).name.startswith("openvino")
    assert found.made == 0


def test_a_network_that_openvino_refuses_is_made_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sums are right, so it was written like that: it and the choice are deleted, and the log says why."""
    monkeypatch.setattr(choice, "_rate", lambda runtime, _: float(runtime.name.startswith("openvino")))
    choice.open_on_cpu(Model(Network(), "refused network"))
    entry = Entry(Model(Network(), "refused network"))
    entry.network.write_text("<net/>")
    (entry.network.parent / "SHA256SUMS").write_text(cache._sums(entry.network.parent))
    assert entry.has_network()
    with caplog.at_level(logging.WARNING, "fpve"):
        assert choice.open_on_cpu(Model(Network(), "refused network")).name.startswith("openvino")
    assert "encoder tiny: its network in the cache is made again" in caplog.text
    assert len(entry.network.read_text()) > 1000
    assert sorted(path.name for path in entry.network.parents[1].iterdir() if path.is_dir()) == ["network"]


@pytest.mark.parametrize("damage", ["null", "{}", "[]", '{"value": null, "sha256": "0"}', '{"a": 1', "\x00"])
def test_a_damaged_fact_is_made_again(damage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is not as it was written counts as not there, whatever it is; a fact comes back as JSON."""
    monkeypatch.setenv("FPVE_CACHE", str(tmp_path))
    made = []

    def make() -> Any:
        made.append(1)
        return {"size": (224, 224), "mean": 0.1}

    expected = {"size": [224, 224], "mean": 0.1}
    assert [recalled("a", "b", make=make) for _ in range(2)] == [expected, expected]
    assert len(made) == 1
    (file,) = (tmp_path / "facts").iterdir()
    file.write_text(damage)
    assert [recalled("a", "b", make=make) for _ in range(2)] == [expected, expected]
    assert len(made) == 2


def fill(path: Path) -> None:
    """Stand in for a conversion."""
    path.write_text("<net/>")
    path.with_suffix(".bin").write_bytes(b"weights")


def test_a_cache_can_be_shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is made has the modes that the umask says, so that another user can read it."""
    monkeypatch.setenv("FPVE_CACHE", str(tmp_path / "shared"))
    before = os.umask(0o022)
    try:
        entry = Entry(Model(Network(), "shared"))
        assert entry.make_network(fill) == entry.network
        entry.keep_choice({"runtime": "openvino"})
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "shared").rglob("*") if path.is_dir()}
    assert modes == {0o755}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "shared").rglob("*.*")} == {0o644}


def test_what_can_not_be_read_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's network that nobody else may read: it is converted into a temporary folder."""
    entry = Entry(Model(Network(), "unreadable"))
    entry.make_network(fill)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        for name in ("read_text", "rename", "is_file"):
            patch.setattr(Path, name, refuse)
        assert not entry.has_network()
        assert entry.choice() is None
        made = entry.make_network(fill)
    assert made != entry.network
    assert made.read_text() == "<net/>"
    assert [path.name for path in entry.network.parents[1].iterdir()] == ["network"]


def test_a_user_without_a_home_has_a_temporary_cache() -> None:
    """A container's user with neither HOME nor an entry in /etc/passwd: a folder that goes with the process."""
    code = (
        "from fpve.encoders.runtimes import cache\n"
        "cache.Path.home = lambda: (_ for _ in ()).throw(RuntimeError('Could not determine home directory.'))\n"
        "assert cache.recalled('a', make=lambda: [1]) == [1]\n"
        "assert cache.cache_folder() == cache.cache_folder()\n"
        "assert (cache.cache_folder() / 'facts').is_dir()\n"
        "print(cache.cache_folder())\n"
    )
    gone = ("FPVE_CACHE", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "fpve-" in done.stdout
    assert not Path(done.stdout.strip()).exists()


def test_leftovers_of_killed_conversions_are_swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is older than a day goes with the next conversion, of whichever model; what is younger may be in work."""
    monkeypatch.setenv("FPVE_CACHE", str(tmp_path))
    old, old_file, young = (tmp_path / "models" / name for name in ("other/tmpold", "other/tmpfile", "other/tmpyoung"))
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "model.bin").write_bytes(b"half")
    old_file.write_text("{")
    for path in (old, old_file):
        os.utime(path, (0, 0))
    Entry(Model(Network(), "sweep")).make_network(fill)
    assert [path.name for path in (tmp_path / "models" / "other").iterdir()] == ["tmpyoung"]


def test_a_file_that_can_not_be_written_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The disk is full when a fact is synced: it is done without, and no temporary file stays."""
    monkeypatch.setenv("FPVE_CACHE", str(tmp_path))

    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_fsync", fail)
    assert recalled("a", make=lambda: [1]) == [1]
    assert list((tmp_path / "facts").iterdir()) == []


def test_a_runtime_that_fails_while_it_is_measured_is_an_error() -> None:
    """In whichever thread: the rate of the others would say that it is slow, and not that it is broken."""

    def encode(batch: np.ndarray) -> np.ndarray:
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("no answer")
        return batch

    with pytest.raises(ValueError, match="no answer"):
        choice._rate(SimpleNamespace(encode=encode, batch_size=2, concurrency=3), probe_pictures(SIDE, 2))


def test_openvino_that_fails_while_it_is_measured_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gave the right vectors once, and fails with several calls at once: torch runs the network."""

    def rate(runtime: Any, _: Any) -> float:
        if runtime.name.startswith("openvino"):
            raise RuntimeError("no answer")
        return 1.0

    monkeypatch.setattr(choice, "_rate", rate)
    assert choice.open_on_cpu(Model(Network(), "unmeasured")).name.startswith("torch")
    assert Entry(Model(Network(), "unmeasured")).choice() == {"runtime": "torch", "reason": "no answer"}


def test_8_bits_are_refused_before_a_gpu_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, too, the message is that int8 needs none, not that there is no driver."""
    monkeypatch.setattr(runtimes, "pick_device", None)
    with pytest.raises(EncoderError, match="precision = 'int8' runs on a CPU only, found device 'cuda:0'"):
        runtimes.open_runtime(Model(Network(), "gpu", "int8"), device="cuda:0")


def test_the_environment_settles_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """FPVE_RUNTIME names one; a name that is none is an error that lists them."""
    monkeypatch.setattr(choice, "_rate", None)
    for wanted in ("torch", "openvino"):
        monkeypatch.setenv("FPVE_RUNTIME", wanted)
        assert choice.open_on_cpu(Model(Network(), "settled")).name.startswith(wanted)
    monkeypatch.setenv("FPVE_RUNTIME", "tensorrt")
    with pytest.raises(EncoderError, match="expected one of openvino, torch, found 'tensorrt'"):
        choice.open_on_cpu(Model(Network(), "settled"))


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_precision_that_the_cpu_lacks_is_refused(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be emulated: one line names what the CPU would need."""
    monkeypatch.setattr(openvino, "cpu_features", lambda: frozenset({"avx2"}))
    with pytest.raises(EncoderError, match=f"precision = '{precision}' needs a CPU with "):
        choice.open_on_cpu(Model(Network(), "refused", precision))


@pytest.mark.parametrize(("precision", "cosine"), [("bf16", 0.999), ("int8", 0.97)])
def test_other_precisions_are_close(precision: Any, cosine: float) -> None:
    """Rows that point where those of fp32 do, and are not the same."""
    try:
        openvino.check_precision(precision)
    except EncoderError as error:
        pytest.skip(str(error))
    pictures = probe_pictures(SIDE, 6)
    exact = choice.open_on_cpu(Model(Network(), "exact")).encode(pictures)
    other = choice.open_on_cpu(Model(Network(), precision, precision)).encode(pictures)
    assert cosine < worst_cosine(exact, other) < 0.9999999


def test_nobody_is_told_of_conversions(tmp_path: Path) -> None:
    """Converting and quantising leave the home directory empty, connect to nothing and say nothing."""
    code = (
        "import socket, sys\n"
        "def refuse(*arguments): print('connects to', arguments)\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
        "import torch\n"
        "from fpve.encoders.runtimes.choice import _make\n"
        "from pathlib import Path\n"
        "from types import SimpleNamespace\n"
        "class Network(torch.nn.Module):\n"
        "    def __init__(self): super().__init__(); self.layer = torch.nn.Conv2d(3, 8, 3)\n"
        "    def forward(self, pixels): return self.layer(pixels.permute(0, 3, 1, 2) / 255).mean((2, 3))\n"
        "model = SimpleNamespace(precision='int8', side=32)\n"
        "_make(model, Network().eval(), Path(sys.argv[1], 'model.xml'))\n"
        "import nncf.telemetry\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry.')])\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    gone = ("CI", "NNCF_CI", "NNCF_DEV", "TF_BUILD", "JENKINS_URL", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    environment |= {"HOME": str(home), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
    assert (tmp_path / "model.bin").is_file()
    assert list(home.iterdir()) == []


def test_reports_of_an_application_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has imported the reporting library before us sends nothing any longer."""
    name = "openvino_telemetry"
    sent: list[str] = []
    sender = type("TelemetrySender", (), {"send": lambda _, message: sent.append(message)})
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, f"{name}.utils.sender", SimpleNamespace(TelemetrySender=sender))
    openvino.library()
    sender().send("hello")
    assert sent == []


def test_a_failed_conversion_leaves_logging_alone() -> None:
    """OpenVINO sets the root logger to errors only, and leaves it so when it fails."""
    before = logging.getLogger().level, list(logging.getLogger().handlers)
    with pytest.raises(Exception, match="qr"):
        openvino.convert(Sorting().eval(), SIDE, Path("unused.xml"))
    assert (logging.getLogger().level, logging.getLogger().handlers) == before


def test_quantising_is_known_by_its_libraries() -> None:
    """Another version quantises in another way: it is part of the fingerprint of int8."""
    assert quantisation().endswith(f", nncf {version_of('nncf')}, openvino {version_of('openvino')}")
    assert version_of("nncf")


def test_precisions_have_fingerprints_of_their_own() -> None:
    """fp32 is the default; the others are other encoders, so that their vectors never meet in a store."""
    default, *all_three = (
        open_image_encoder(EncoderConfig(LITE0, precision=one)).fingerprint for one in (None, "fp32", "bf16", "int8")
    )
    assert all_three[0] == default
    assert len(set(all_three)) == 3


def test_a_gpu_is_not_asked_for_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """int8 runs on CPUs; any other device is an error that says so."""
    with pytest.raises(EncoderError, match="precision = 'int8' runs on a CPU only, found device 'meta'"):
        open_image_encoder(EncoderConfig(LITE0, device="meta", precision="int8")).encode(
            np.zeros((1, 224, 224, 3), np.uint8)
        )


def test_torch_keeps_its_threads() -> None:
    """After a call that kept to one thread, torch is as it was in this thread; the main thread may use them all."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
            with one_thread():
                assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        with as_many_as_are_free():
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def overlapping(context: Callable[[], AbstractContextManager[None]], look: Callable[[], Any]) -> dict[str, Any]:
    """Enter a context in two threads, leave the first while the second is inside; what each sees then and after."""
    seen: dict[str, Any] = {}
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with context():
            first_in.set()
            second_in.wait(10)
        seen["first, after"] = look()
        first_out.set()

    def second() -> None:
        first_in.wait(10)
        with context():
            second_in.set()
            first_out.wait(10)
            seen["second, within"] = look()
        seen["second, after"] = look()

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def test_threads_of_torch_belong_to_the_caller() -> None:
    """Of two calls that overlap each leaves its own thread as it was, and new threads get what they would have got."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        seen = overlapping(one_thread, torch.get_num_threads)
        assert seen == {"first, after": 3, "second, within": 1, "second, after": 3}
        with one_thread(), ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_convolutions_are_exact_until_the_last_call_ends() -> None:
    """The first of two calls to end does not let the other one round; afterwards it is as it was."""
    seen = overlapping(exact_convolutions, lambda: torch.backends.cudnn.allow_tf32)
    assert seen["second, within"] is False
    assert seen["second, after"] is True
    assert torch.backends.cudnn.allow_tf32 is True


class Small(Network):
    """A network on a GPU that has memory for so many pictures at once."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.seen: list[int] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features."""
        self.seen.append(len(pixels))
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(pixels)


def test_a_batch_that_a_gpu_has_no_memory_for_is_encoded_in_parts() -> None:
    """The rows are those of a larger GPU, and from then on batches are asked for that fit."""
    network, pictures = Small(room=3), probe_pictures(SIDE, 8)
    runtime = EagerRuntime(network, torch.device("cpu"), "fp32")
    assert runtime.batch_size == 8
    rows = runtime.encode(pictures)
    expected = EagerRuntime(Network(), torch.device("cpu"), "fp32").encode(pictures)
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)
    assert network.seen == [8, 4, 2, 2, 4, 2, 2]
    assert runtime.batch_size == 2


def test_a_gpu_without_memory_for_one_picture_is_an_error() -> None:
    """One line that says which device, and what to do."""
    runtime = EagerRuntime(Small(room=0), torch.device("cpu"), "fp32")
    with pytest.raises(EncoderError) as caught:
        runtime.encode(probe_pictures(SIDE, 2))
    assert str(caught.value) == (
        "torch fp32 on cpu: expected memory for the model and one picture, found too little: CUDA out of memory. "
        "Tried to allocate 2.00 GiB.; end what else uses it, or set device = 'cpu'"
    )


def test_a_gpu_is_called_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks: what cuDNN plans for a thread is planned once, and one call has memory at a time."""
    runtime = EagerRuntime(Network(), torch.device("cpu"), "fp32")
    monkeypatch.setattr(runtime, "_device", torch.device("cuda"))
    callers: list[str] = []

    def encode(batch: np.ndarray) -> np.ndarray:
        callers.append(threading.current_thread().name)
        return batch

    monkeypatch.setattr(runtime, "_encode_on_gpu", encode)
    batches = [np.full((2, 1, 1, 3), number) for number in range(20)]
    with ThreadPoolExecutor(4) as pool:
        for batch, row in zip(batches, pool.map(runtime.encode, batches), strict=True):
            np.testing.assert_array_equal(row, batch)
    assert callers == ["fpve-gpu_0"] * 20


@pytest.mark.parametrize(
    ("count", "sizes", "expected"),
    [
        # The first batches are as they come, also larger ones that follow.
        (5, set(), 5),
        (64, {5}, 64),
        # The last one of a run is filled up, if it is not a small one.
        (64, {64}, 64),
        (8, {64}, 64),
        (7, {64}, 8),
        (7, {8, 64}, 8),
        (1, {64}, 1),
        (9, {10, 100}, 10),
        (12, {100}, 16),
    ],
)
def test_batches_for_a_gpu_are_of_few_sizes(count: int, sizes: set[int], expected: int) -> None:
    """Each size has to be planned, so that a smaller batch is filled up to one that was, or to a power of two."""
    assert padded(count, sizes) == expected


@pytest.mark.parametrize(("text", "expected"), [("150000 100000", 2), ("max 100000", 1 << 16), ("nonsense", 1 << 16)])
def test_a_quota_of_a_container_counts(text: str, expected: int, tmp_path: Path) -> None:
    """One and a half cores are two threads; without a quota there is no bound."""
    (tmp_path / "cpu.max").write_text(text)
    assert machine._quota(tmp_path / "cpu.max") == expected
    assert cores() >= 1


def test_probe_pictures_are_the_same_everywhere() -> None:
    """The same on each call, with contrast, and of different kinds."""
    pictures = probe_pictures(64, 8)
    np.testing.assert_array_equal(pictures, probe_pictures(64, 8))
    assert pictures.shape == (8, 64, 64, 3)
    assert pictures.dtype == np.uint8
    assert (pictures.reshape(8, -1).std(axis=1) > 5).all()
