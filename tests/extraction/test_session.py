"""A session runs where it was asked to, or says that it does not."""

import sys
import warnings
from types import SimpleNamespace

import onnxruntime as ort
import pytest
from numpy.testing import assert_allclose

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.exceptions import DeviceError, MissingDependencyError, ModelError
from ntkit.extraction import session as _session
from ntkit.extraction.session import device_of, make_session, sent_to_gpu

K = 3
CPU, CUDA, TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(_session, "nvidia_device", lambda: False)


def test_cuda_without_a_gpu_is_an_error_and_auto_is_silent(zoo, model, no_gpu, capfd):
    with pytest.raises(DeviceError, match=r"device='cuda' (needs|cannot) .*'cpu' or 'auto'"):
        OnnxEmbedder(model, device="cuda").transform(zoo.inputs())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedder = OnnxEmbedder(model, device="auto")
        embedder.transform(zoo.inputs())
    assert embedder.device_ == "cpu"
    assert capfd.readouterr() == ("", "")


class FakeSession:
    """A session that says it runs where ``runs_on`` says, whatever was asked for."""

    runs_on = (CPU,)

    def __init__(self, model, options, providers):
        self.asked, self.options = providers, options

    def get_providers(self):
        return list(self.runs_on)


@pytest.fixture
def fake_gpu(monkeypatch):
    monkeypatch.setattr(_session, "nvidia_device", lambda: True)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(
        ort, "preload_dlls", lambda: sys.stdout.write("libcudart missing"), raising=False
    )
    monkeypatch.setattr(ort, "InferenceSession", FakeSession)
    return monkeypatch


def test_a_gpu_asked_for_by_name_never_becomes_the_cpu(fake_gpu):
    with pytest.raises(
        DeviceError, match=r"runs on the CPU.*pip install 'onnxruntime-gpu\[cuda,cudnn\]'"
    ):
        make_session(b"", device="cuda")
    for given in ([CUDA], [(CUDA, {"device_id": 0})]):
        with pytest.raises(DeviceError):
            make_session(b"", device="cuda", providers=given)
        with pytest.warns(RuntimeWarning, match="runs on the CPU"):
            make_session(b"", providers=given)
    with pytest.warns(RuntimeWarning, match="runs on the CPU") as caught:  # there is a GPU
        session = make_session(b"", device="auto")
    assert caught[0].filename == __file__
    assert device_of(session) == device_of(make_session(b"", device="cpu")) == "cpu"


def test_a_session_on_the_gpu_computes_in_full_float32_and_allocates_what_it_needs(fake_gpu, capfd):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ort, "preload_dlls", lambda: pytest.fail("loaded"), raising=False)
        make_session(b"", device="cpu")
    fake_gpu.setattr(FakeSession, "runs_on", (CUDA, CPU))
    options = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
    for device in ("auto", "cuda"):
        session = make_session(b"", device=device)
        assert session.asked == [(CUDA, {**options, "use_tf32": 0}), CPU]
        assert device_of(session) == "cuda"
    assert capfd.readouterr() == ("", "")  # not what preloading prints


def test_tensorrt_is_taken_only_by_name_and_never_becomes_something_else(fake_gpu):
    fake_gpu.setattr(FakeSession, "runs_on", (TENSORRT, CUDA, CPU))
    assert TENSORRT not in str(make_session(b"", device="auto").asked)
    session = make_session(b"", device="tensorrt")
    assert (session.asked[0], session.asked[1][0]) == (TENSORRT, CUDA)
    assert device_of(session) == "tensorrt"
    for runs_on in ((CPU,), (CUDA, CPU)):
        fake_gpu.setattr(FakeSession, "runs_on", runs_on)
        with pytest.raises(DeviceError, match="TensorRT was requested, but ONNX Runtime runs on"):
            make_session(b"", device="tensorrt")
    fake_gpu.setattr(ort, "get_available_providers", lambda: [CPU])
    for device, name in (("tensorrt", "TensorRT"), ("cuda", "CUDA")):
        with pytest.raises(DeviceError, match=f"built without {name}"):
            make_session(b"", device=device)


# -- the CPU ----------------------------------------------------------------------------------


def test_threads_are_what_the_process_may_use_and_do_not_spin(fake_gpu):
    fake_gpu.setattr(_session, "cpu_count", lambda: 3)
    options = make_session(b"", device="cpu").options
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert make_session(b"", device="cpu", threads=7).options.intra_op_num_threads == 7


# -- what cannot be run -----------------------------------------------------------------------


def test_what_cannot_be_run_is_one_sentence(zoo, model, tmp_path, monkeypatch):
    proto = zoo.classifier(K)
    proto.graph.node[0].op_type = "NoSuchOperator"
    odd = FrozenModel.load(zoo.save(proto, tmp_path / "odd.onnx"))
    with pytest.raises(ModelError, match=r"ONNX Runtime cannot run the model: .*NoSuch") as error:
        OnnxEmbedder(odd, device="cpu").transform(zoo.inputs())
    assert "\n" not in str(error.value)
    monkeypatch.setattr(_session, "builds", lambda: {"onnxruntime": "1.32"})
    repair = "repair with: pip uninstall -y onnxruntime && pip install onnxruntime$"
    for shell in (None, SimpleNamespace()):  # none, or an empty one
        monkeypatch.setitem(sys.modules, "onnxruntime", shell)
        with pytest.raises(MissingDependencyError, match=repair):
            OnnxEmbedder(model).transform(zoo.inputs())


# -- on a real GPU ----------------------------------------------------------------------------


@pytest.fixture
def gpu():
    try:
        make_session(b"", device="cuda")
    except DeviceError as error:
        pytest.skip(f"no GPU: {error}")
    except ModelError:
        pass  # there is one, and no model


@pytest.mark.gpu
def test_the_gpu_gives_the_embeddings_of_the_cpu(zoo, model, gpu):
    X = zoo.inputs(100)
    embedder = OnnxEmbedder(model, device="cuda", batch_size=16)
    assert sent_to_gpu(embedder._session(), {"x": X}) is not None
    assert_allclose(
        embedder.transform(X), OnnxEmbedder(model, device="cpu").transform(X), atol=1e-5
    )
    assert embedder.device_ == "cuda"


@pytest.mark.gpu
def test_the_gpu_goes_on_with_half_the_batch_when_memory_runs_out(zoo, model, gpu):
    X = zoo.inputs(4000)
    little = [(CUDA, {"gpu_mem_limit": 64 * 1024, "arena_extend_strategy": "kSameAsRequested"})]
    embedder = OnnxEmbedder(model, providers=[*little, CPU], batch_size=4000)
    with pytest.warns(RuntimeWarning, match="Memory ran out"):
        Z = embedder.transform(X)
    assert_allclose(Z, OnnxEmbedder(model, device="cpu").transform(X), atol=1e-5)
