"""The parts of `benchmarks` that do not measure: tables of workloads, arithmetic on times, reports and pictures."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks import libraries, plot, process, report
from benchmarks.kernels.cases import CASES, arrays
from benchmarks.networks.workloads import SEQUENCES, SHAPES, WORDS, WORKLOADS, data
from benchmarks.overhead import beside
from benchmarks.overhead import report as overhead
from benchmarks.results import Outcome, best_ratio, geometric_mean, medians, ratios, to_json
from benchmarks.worker import measure, peak_bytes


def outcome(workload: str, library: str, *times: float, threads: int = 1, **more: object) -> Outcome:
    return Outcome(workload, library, threads, times=list(times), **more)  # type: ignore[arg-type]


def test_median_and_spread() -> None:
    assert outcome("w", "a", 3.0, 1.0, 2.0).median == 2.0
    assert outcome("w", "a", 1.0, 2.0, 3.0, 4.0, 5.0).spread == pytest.approx(1.0)
    assert outcome("w", "a", 7.0).spread == 0.0
    assert outcome("w", "a").median is None


def test_ratios_compare_with_kgraph() -> None:
    row = {"kgraph": 2.0, "a": 3.0, "b": 1.0}
    assert ratios(row) == {"a": 1.5, "b": 0.5}
    assert best_ratio(row) == 0.5
    assert ratios({"a": 3.0}) == {}
    assert best_ratio({"kgraph": 2.0}) is None
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([]) is None


def test_medians_leave_out_failures_but_keep_their_workloads() -> None:
    failed = outcome("w", "b", error="no")
    assert medians([outcome("w", "a", 1.0, 3.0), failed, outcome("v", "b")]) == {"w": {"a": 2.0}, "v": {}}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0421, "0.042"), (0.5, "0.500"), (1.234, "1.23"), (43.21, "43.2"), (1234.5, "1234")],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert report.number(value) == text


def test_table() -> None:
    assert report.table(["x", "y"], [["a", "1"]]) == "| x | y |\n| --- | ---: |\n| a | 1 |\n"


def test_report_on_networks() -> None:
    found = [
        outcome("train/n/1", "kgraph", 0.002, version="1", import_seconds=0.5, cold_seconds=4.0, warm_seconds=0.25),
        outcome("train/n/1", "torch", 0.004, version="2", peak_bytes=3_000_000, cold_seconds=1.0),
        outcome("train/n/1", "other", error="it broke"),
    ]
    text = report.networks(found, {"processor": "some"})
    assert "- processor: some" in text
    assert "| train/n/1 | 2.00 | 4.00 | - | 2.00 |" in text
    assert "| train/n/1 | 4.00 / 0.250 | 1.00 | - |" in text
    assert "| train/n/1 | - | 3.00 | - |" in text
    assert "| import | 0.500 | - | - |" in text
    assert "- other, train/n/1, 1 thread: it broke" in text


def test_report_on_kernels_gives_rates_and_shares() -> None:
    name = "matmul/512x512x512"
    flops = 2 * 512**3
    peak = CASES["limit/fma"].work(2)
    found = [
        outcome("limit/fma", "kgraph", peak / 100e9, threads=2),
        outcome(name, "kgraph", flops / 80e9, threads=2),
        outcome(name, "numpy", flops / 40e9, threads=2),
    ]
    text = report.kernels(found, {}, CASES)
    assert "Fused multiply-adds reach 100 GFLOP/s, copies - GB/s" in text
    assert f"| {name} | GFLOP/s | 80.0 | 40.0 | 80 % | 2.00 |" in text


def test_numbers_of_threads_are_reported_apart() -> None:
    found = [outcome("w", "kgraph", 1.0, threads=t) for t in (2, 1)]
    text = report.networks(found, {})
    assert text.index("## 1 thread\n") < text.index("## 2 threads\n")


def test_raw_numbers() -> None:
    raw = json.loads(to_json([outcome("w", "a", 1.5)], {"Python": "3"}))
    assert raw["context"] == {"Python": "3"}
    assert raw["outcomes"][0]["times"] == [1.5]


def test_picture_is_valid_and_has_a_dot_per_ratio() -> None:
    rows: dict[str, dict[str, float]] = {"a<b": {"torch": 2.0, "other": 0.01}, "empty": {}}
    root = ElementTree.fromstring(plot.svg("title", rows, ["torch", "other"]))
    tips = [t.text for t in root.iter("{http://www.w3.org/2000/svg}title")]
    assert tips == ["torch: 2.00", "other: 0.01"]
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a<b", "empty", "torch", "1"} <= set(texts)
    width = float(root.attrib["width"])
    assert all(0 < float(c.attrib["cx"]) < width for c in root.iter("{http://www.w3.org/2000/svg}circle"))


def test_picture_of_nothing() -> None:
    ElementTree.fromstring(plot.svg("title", {}, []))


def test_workloads_have_data() -> None:
    for name, workload in WORKLOADS.items():
        assert name == f"{workload.task}/{workload.network}/{workload.batch}"
        assert workload.network in {**SHAPES, **SEQUENCES}
    x, y = data(WORKLOADS["train/mnist_mlp/32"])
    assert (x.shape, y.shape) == ((32, 784), (32, 10))
    assert (y.sum(axis=1) == 1).all()
    x, y = data(WORKLOADS["train/text_gru/30"])
    assert (x.shape, x.dtype.kind, y.shape) == ((30, 100), "i", (30, 2))
    assert x.min() >= 0 and x.max() < WORDS


def test_amounts_of_work() -> None:
    assert CASES["conv/8x224x224x3/7x7x64/2"].amount == 2 * 8 * 112 * 112 * 64 * 7 * 7 * 3
    assert CASES["add/65536"].amount == 3 * 4 * 65536
    assert CASES["sum/4096x4096/0"].amount == 4 * (4096 * 4096 + 4096)
    assert CASES["max_pool/64x28x28x32/2x2/2"].amount == 4 * 64 * 32 * (28 * 28 + 14 * 14)
    assert CASES["limit/fma"].work(3) == 3 * CASES["limit/fma"].work(1)
    first, second = arrays(CASES["matmul_tn/32x784x400"])
    assert (first.shape, second.shape) == ((784, 32), (784, 400))


def test_libraries_say_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = {x.name: x for x in libraries.NETWORKS}
    assert not by_name["onnxruntime"].does("train/resnet20/32")
    assert by_name["onnxruntime"].does("predict/resnet20/1")
    monkeypatch.setenv("KGRAPH_BENCH_TORCH", "/some/python")
    assert by_name["torch"].interpreter() == by_name["torch.compile"].interpreter() == "/some/python"
    for kernel in CASES:
        assert any(x.does(kernel) for x in libraries.KERNELS)


def test_environment_pins_threads_but_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("PATH", "/bin")
    made = process.environment({"X": "y"}, 2)
    assert "OPENBLAS_CORETYPE" not in made
    assert made["OPENBLAS_NUM_THREADS"] == made["KGRAPH_NUM_THREADS"] == "2"
    assert (made["X"], made["PATH"]) == ("y", "/bin")


def test_measure_does_one_step_more_than_it_times() -> None:
    done: list[int] = []
    times = measure(lambda: done.append(1), 0.0, 5)
    assert len(times) == 5
    assert len(done) == 6
    assert peak_bytes() > 1 << 20


def test_percentiles_beside_another_program() -> None:
    steps = beside.Steps("a", 2, {None: [3.0, 1.0, 2.0], 1: [5.0]})
    assert [steps.percentile(None, share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]
    assert steps.percentile(1, 0.99) == 5.0 and steps.percentile(0, 0.5) is None


def test_report_on_overhead() -> None:
    costs = {
        "calls": [{"call": "predict", "seconds": 25e-6, "kernels": 15e-6}],
        "fit": {"epoch": 1.02, "steps": 1.0},
        "binding": [{"network": "n", "launches": 400, "seconds": 0.001}],
    }
    steps = [beside.Steps("kgraph", 1, {None: [0.001], 0: [0.002]})]
    text = overhead.text({1: costs}, steps, {"machine": "m"})
    for line in (
        "- machine: m",
        "| predict | 25.0 | 15.0 | 10.0 |",
        "| fit | 1020 | 1000 | 2.0 % |",
        "| n | 400 | 1.00 | 0.500 |",
        "| kgraph, 1 | 1.00 / 1.00 | 2.00 / 2.00 |",
    ):
        assert line in text
