import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from browser import Browser
from PIL import Image
from reporting_rows import asked, loaded, parameters, row, verdicts, write
from safetensors.numpy import save_file
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.errors import UserError
from contrastbench.pipeline.runs import benchmarks, histories, runs_of
from contrastbench.reporting.cells import cells_of
from contrastbench.reporting.dag import dag_svg
from contrastbench.reporting.figures import (
    accuracy_lines,
    gradient_curves,
    protocol_curves,
    selection_bars,
    simplex,
    training_curves,
)
from contrastbench.reporting.provenance import costs
from contrastbench.reporting.report import LARGEST, build_report, track_section
from contrastbench.reporting.robustness_figures import attack_heatmap, sensitivity_to_strength, transfer_matrix
from contrastbench.reporting.tables import own_rows
from contrastbench.results.load import rows_in

STEPS = {"prepare": [], "pretrain-unremix": ["prepare"], "probe-unremix": ["prepare", "pretrain-unremix"]}
IMAGES = {"random": 0.6, "simclr": 0.8, "hcl": 0.84, "unremix": 0.86}
ROBUST = {"simclr": 0.3, "swaro": 0.6, "pgd-at": 0.7}
AUDIO = {"pixels": 0.4, "mae": 0.5, "uamix-mae": 0.56}


def image_rows() -> list:
    protocols = {"linear": 0.0, "knn": -0.03, "low-label-5": -0.2, "low-label-20": -0.1}
    rows = [
        row(method, seed, correct=verdicts(rate + shift, seed=seed), protocol=protocol)
        for method, rate in IMAGES.items()
        for protocol, shift in protocols.items()
        for seed in range(3)
    ]
    variants = {"uncertainty": 0.82, "similarity": 0.84, "representativeness": 0.8}
    looked = {"stage": "diagnostics", "metric": "false-negatives"}
    ranked = {"simclr": {"random": 0.1, "all": 0.1}, "unremix": {"weights": 0.24, "similarity": 0.41}}
    return [
        *rows,
        *(row(f"unremix-{name}", correct=verdicts(rate)) for name, rate in variants.items()),
        *(
            row(method, seed, share + seed / 100, protocol=f"false-negatives-{score}", **looked)
            for method, shares in ranked.items()
            for score, share in shares.items()
            for seed in range(3)
        ),
    ]


def robust_rows() -> list:
    where = {"track": "swaro", "metric": "robust-top1", "stage": "attack"}
    rows = []
    for method, rate in ROBUST.items():
        head = {} if method == "pgd-at" else {"C": 1.0, "by_C": {"1": [rate + 0.2, rate], "10": [0.95, rate - 0.1]}}
        rows.append(row(method, correct=verdicts(0.9), protocol="clean", track="swaro", stage="attack", **head))
        for eps in (0.05, 0.1, 0.2):
            failed = {"failed_checks": ["gradients are masked"]} if method == "simclr" and eps == 0.2 else {}
            for attack, gain in (("pgd-20-linf", 0.05), ("worst-case-linf", 0.0)):
                stands = verdicts(max(0.05, rate + gain - eps))
                rows.append(row(method, correct=stands, protocol=f"{attack}@{eps}", **where, **failed))
        distance = {"protocol": "cw-l2", "metric": "median-distance"}
        rows.append(row(method, value=2 * rate, **where | distance))
        carried = where | {"stage": "transfer_attack"}
        rows += [row(method, correct=verdicts(rate), protocol=f"transfer-from-{s}@0.1", **carried) for s in ROBUST]
    return rows


def audio_rows() -> list:
    where = {"track": "uamix", "dataset": "instruments", "stage": "few_shot"}
    attacked = where | {"stage": "audio_attack"}
    protocols = {"audio-clean": 0.0, "audio-pgd-20-spectrogram@0.05": -0.1, "audio-pgd-20-spectrogram@0.1": -0.2}
    protocols |= {"audio-pgd-20-waveform@20dB": -0.2, "audio-pgd-20-waveform@40dB": -0.1}
    return [
        row(method, seed, correct=verdicts(rate + gain, 100, seed), protocol=protocol, **attacked)
        for method, rate in AUDIO.items()
        for protocol, gain in protocols.items()
        for seed in range(2)
        if method != "pixels"
    ] + [
        row(method, seed, rate + 0.05 * shots + 0.01 * seed, protocol=f"few-shot-5-way-{shots}-shot-{kind}", **where)
        for method, rate in AUDIO.items()
        for shots in (1, 5)
        for kind in ("centroid", "cl2n")
        for seed in range(2)
    ]


def training_run(root: Path, method: str, seed: int, weights: tuple | None = None) -> None:
    folder = root / "runs/default/pretrain/unremix/mnist5k" / method / str(seed)
    folder.mkdir(parents=True)
    settings = {"temperature": 0.5} | ({"weights": list(weights)} if weights else {})
    (folder / "run.json").write_text(json.dumps({"params": {"settings": settings}, "torch": "2.13.0"}))
    epochs = np.arange(1, 6)
    history = {"step": epochs * 10, "epoch": epochs, "loss": 5 / epochs + seed, "effective_rank": 10 + epochs}
    if weights:
        history |= {"gradient_cosine": 1 - epochs / 100, "gradient_cosine_best": 1 - epochs / 200}
        history |= {"gradient_norm_ratio": 1 + epochs / 10, "best_temperature": epochs / 10}
    pd.DataFrame({} if method == "random" else history).to_csv(folder / "history.csv", index=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Rows and runs of all three tracks."""
    root = tmp_path_factory.mktemp("project")
    write(root, [*image_rows(), *robust_rows(), *audio_rows()])
    third = (1 / 3, 1 / 3, 1 / 3)
    for seed in range(2):
        training_run(root, "simclr", seed)
        training_run(root, "unremix", seed, third)
        training_run(root, "random", seed)
    for index, name in enumerate(("uncertainty", "similarity", "representativeness")):
        training_run(root, f"unremix-{name}", 0, tuple(np.eye(3)[index]))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    data = root / "data/prepared/mnist5k"
    data.mkdir(parents=True)
    np.save(data / "test_y.npy", labels)
    (data / "meta.json").write_text(json.dumps({"classes": ["zero", "one", "two"]}))
    for method, separation in (("random", 0.3), ("unremix", 3.0)):
        folder = root / "runs/default/features/unremix/mnist5k" / method / "0"
        folder.mkdir(parents=True)
        features = rng.normal(size=(120, 6)) + separation * np.eye(6)[labels]
        save_file({"test": features}, folder / "features.safetensors")
    pictures = root / "runs/default/figures"
    pictures.mkdir()
    Image.fromarray(rng.integers(0, 255, (40, 120, 3), dtype=np.uint8)).save(pictures / "adversarial-examples.png")
    timing = root / "runs/default/benchmarks/pretrain"
    timing.mkdir(parents=True)
    (timing / "unremix-mnist5k-simclr-0.tsv").write_text("s\tmax_rss\tcpu_time\n12.5\t345.6\t12.0\n")
    (timing / "unremix-mnist5k-simclr-1.tsv").write_text("s\tmax_rss\tcpu_time\n7.5\t-\t7.0\n")
    return root


@pytest.fixture(scope="module")
def page(project) -> str:
    return build_report(rows_in(project), "default", STEPS, project)


def test_the_page_is_one_offline_file_of_allowed_size(page):
    assert len(page.encode()) < LARGEST
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", outside)
    assert not re.search(r"@import|url\(", outside)


def test_every_kind_of_section_is_there(page):
    for title in (
        "mnist5k: Frozen features",
        "Ablation",
        "low-label on mnist5k",
        "few-shot on instruments, 5-way, cl2n",
        "worst-case on mnist5k, linf",
        "instruments: Attacks on sound",
        "audio-pgd-spectrogram on instruments, 20 steps",
        "audio-pgd-waveform on instruments, 20 steps",
        "Which attack broke what: mnist5k",
        "Transfer of attacks on mnist5k, radius 0.1",
        "Sensitivity to C of the linear head: mnist5k",
        "The simplex of UnReMix&#39;s weights on mnist5k",
        "Gradients beside NT-Xent&#39;s on mnist5k",
        "Selection of negatives on mnist5k",
        "Training on mnist5k (pretrain)",
        "Embeddings of mnist5k: random and unremix",
        "adversarial examples",
        "Pipeline",
        "Provenance",
    ):
        assert title in page, title
    assert page.count("How to read this:") == page.count("<h4>mnist5k: ") + page.count("<h4>instruments: ")


def test_failed_checks_stand_at_the_top_and_in_the_table(page):
    assert page.index("Failed sanity checks") < page.index("mnist5k: Frozen features")
    assert page.count('<li class="warning">') == 1
    assert re.search(r'class=" failed"\s+title="[^"]*gradients are masked"', page)


def test_absent_data_leave_sections_out(tmp_path):
    write(tmp_path, [row()])
    page = build_report(rows_in(tmp_path), "default", {}, tmp_path)
    for absent in ("<h3>Figures", "Gallery", "Pipeline</h2>", "Failed sanity", "<h3>Ablation"):
        assert absent not in page
    with pytest.raises(UserError, match="no result rows of preset 'cifar'"):
        build_report(rows_in(tmp_path), "cifar", {}, tmp_path)


def test_pictures_beyond_the_budget_are_named(tmp_path, monkeypatch):
    write(tmp_path, [row()])
    folder = tmp_path / "runs/default/figures"
    folder.mkdir(parents=True)
    for name in ("first", "second"):
        Image.new("RGB", (4, 4)).save(folder / f"{name}.png")
    monkeypatch.setattr("contrastbench.reporting.report.IMAGES", 150)
    page = build_report(rows_in(tmp_path), "default", {}, tmp_path)
    assert 'alt="first"' in page and 'alt="second"' not in page and "may have 10 MB: second" in page


def test_charts_show_the_numbers_of_the_cells(project):
    cells = cells_of(rows_in(project))
    curves = {chart.title: chart for chart in protocol_curves(cells)}
    few = curves["low-label on mnist5k"]
    line = next(trace for trace in few.figure.data if trace.name == "unremix")
    means = [np.mean([verdicts(0.86 + shift, seed=s).mean() for s in range(3)]) for shift in (-0.2, -0.1)]
    assert list(line.x) == [5, 20] and list(line.y) == pytest.approx(100 * np.array(means), abs=1e-3)
    worst = curves["worst-case on mnist5k, linf"]
    swaro = next(trace for trace in worst.figure.data if trace.name == "swaro")
    assert list(swaro.x) == [0, 0.05, 0.1, 0.2] and swaro.y[0] == pytest.approx(90, abs=1)
    (matrix,) = transfer_matrix(cells)
    assert list(matrix.figure.data[0].x) == list(matrix.figure.data[0].y) == ["simclr", "swaro", "pgd-at"]
    assert matrix.figure.data[0].z[1][0] == pytest.approx(100 * verdicts(0.6).mean(), abs=0.01)
    (attacks,) = attack_heatmap(cells)
    assert attacks.figure.data[0].y[0] == "clean" and "cw-l2" not in attacks.figure.data[0].y


def test_the_sensitivity_to_the_strength_is_drawn_and_the_choice_marked():
    """Means over seeds; a supervised method has no strength, and a variant is no line."""
    where = {"track": "swaro", "stage": "attack"}
    rows = [row("pgd-at", protocol="clean", **where)]
    for seed, (chosen, robust) in enumerate([(0.1, 0.6), (1.0, 0.5)]):
        by = {"0.1": [0.8, robust], "1": [0.9, 0.4], "10": [0.9, 0.1 * seed]}
        rows.append(row("swaro", seed, protocol="clean", C=chosen, by_C=by, **where))
        rows.append(row("swaro-add", seed, protocol="clean", C=chosen, by_C=by, base="swaro", **where))
        rows.append(row("swaro", seed, protocol="pgd-20-linf@0.1", metric="robust-top1", C=chosen, **where))
    (chart,) = sensitivity_to_strength(cells_of(own_rows(loaded(rows))))
    attacked, clean = chart.figure.data
    assert list(attacked.x) == [0.1, 1, 10] and list(attacked.y) == pytest.approx([55, 40, 5])
    assert list(clean.y) == pytest.approx([80, 90, 90])
    assert attacked.marker.size[0] == attacked.marker.size[1] > attacked.marker.size[2] and attacked.name == "swaro"
    assert not sensitivity_to_strength(cells_of(loaded(rows[:1])))
    (wider,) = sensitivity_to_strength(cells_of(own_rows(loaded(rows), ["swaro-add"])))
    assert {trace.name for trace in wider.figure.data} == {"swaro", "swaro-add"}, "a variant that the track runs"


def test_curves_of_attacks_on_sound_say_what_their_radius_is_and_begin_at_none(project):
    """They had the caption of images, "pixels in [0, 1]", and no point at radius 0."""
    curves = {chart.title: chart for chart in protocol_curves(cells_of(rows_in(project)))}
    spectrogram = curves["audio-pgd-spectrogram on instruments, 20 steps"]
    assert "1 is two standard deviations" in spectrogram.reading and "pixels" not in spectrogram.reading
    (mae,) = [trace for trace in spectrogram.figure.data if trace.name == "mae"]
    clean = 100 * np.mean([verdicts(0.5, 100, seed).mean() for seed in range(2)])
    assert list(mae.x) == [0, 0.05, 0.1] and mae.y[0] == pytest.approx(clean)
    waveform = curves["audio-pgd-waveform on instruments, 20 steps"]
    assert "pixels" not in waveform.reading and waveform.figure.layout.xaxis.title.text == "signal-to-noise ratio in dB"
    assert [list(trace.x) for trace in waveform.figure.data] == [[20, 40], [20, 40]], "no clean value at 0 dB"


def test_charts_of_training_runs(project):
    runs = runs_of(project, "default")
    history = histories(runs)
    assert set(history["method"]) == {"simclr", "unremix", *(run.method for run in runs if "-" in run.method)}
    (curves,) = training_curves(histories([run for run in runs if "-" not in run.method]))
    assert {trace.name for trace in curves.figure.data} == {"simclr", "unremix"}
    assert len(curves.figure.data) == 2 * 2 * 2  # methods, seeds, panels
    (gradients,) = gradient_curves(history)
    drawn = {trace.name for trace in gradients.figure.data}
    assert "simclr" not in drawn and drawn == {name for name in set(history["method"]) if "unremix" in name}
    cells = cells_of(loaded([item for item in rows_in(project).rows if item.track == "unremix"]))
    (triangle,) = simplex(runs, cells)
    (selection,) = selection_bars(cells)
    bars = {trace.name: (list(trace.x), list(trace.y)) for trace in selection.figure.data}
    assert bars == {"simclr": (["random"], [11.0]), "unremix": (["weights", "similarity"], [25.0, 42.0])}
    assert [shape.y0 for shape in selection.figure.layout.shapes] == [pytest.approx(11)], "the base rate"
    points = triangle.figure.data[0]
    assert next(iter(points.hovertext)) == "unremix" and len(points.a) == 4
    assert sorted(points.a) == pytest.approx([0, 0, 1 / 3, 1])


def test_charts_of_training_leave_out_trials_and_show_what_a_preset_lists(project, tmp_path):
    folder = "runs/default/pretrain/unremix/mnist5k"
    for label in ("unremix", "unremix-trial-01", "unremix-tuned"):
        shutil.copytree(project / folder / "unremix", tmp_path / folder / label)
    content = parameters(unremix__methods=["unremix", "unremix-tuned"])
    content["unremix"]["variants"]["unremix-tuned"] = {"method": "unremix", "training": {"epochs": 2}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    section = track_section("unremix", loaded([]), runs_of(tmp_path, "default"), "default", tmp_path)
    drawn = [{line.name for line in chart.figure.data} for chart in section.charts]
    assert len(drawn) == 2 and all(names == {"unremix", "unremix-tuned"} for names in drawn)


def test_costs_come_from_benchmarks_or_else_from_rows(project):
    assert costs(benchmarks(project, "default"), []) == [("pretrain", 2, 20.0, 12.5, 345.6)]
    stored = rows_in(project).rows
    by_stage = {line[0]: line for line in costs(benchmarks(project, "absent"), stored)}
    assert by_stage["attack"] == ("attack", 3, 3.0, 1.0, 100.0)


def test_the_drawing_of_steps_goes_left_to_right_and_refuses_cycles():
    drawing = dag_svg(STEPS)
    assert drawing.count("<rect") == 3 and drawing.count('class="arrow"') == 2  # prepare to probe is implied
    left = dict(re.findall(r'<text x="(\d+)"[^>]*>([a-z-]+)<', drawing))
    assert [left[x] for x in sorted(left, key=int)] == list(STEPS)
    bands = dag_svg({**STEPS, "pretrain-swaro": ["prepare"], "attack-swaro": ["pretrain-swaro"]})
    rows = {name: int(y) for y, name in re.findall(r'<text x="[^"]*" y="(\d+)"[^>]*>([a-z-]+)<', bands)}
    assert rows["pretrain-unremix"] == rows["probe-unremix"] < rows["pretrain-swaro"] == rows["attack-swaro"]
    with pytest.raises(ValueError, match="cycle"):
        dag_svg({"a": ["b"], "b": ["a"]})


@pytest.fixture(scope="module")
def with_parameters(project, repository, tmp_path_factory) -> Path:
    """A copy of the project with parameters, and rows that they ask for."""
    root = shutil.copytree(project, tmp_path_factory.mktemp("with") / "parameters")
    (root / "params.yaml").write_bytes((repository / "params.yaml").read_bytes())
    write(root, asked([item for item in image_rows() if item.method == item.base]))
    return root


def test_the_command_writes_the_report_of_a_preset(with_parameters, tmp_path, monkeypatch):
    monkeypatch.chdir(with_parameters)
    result = CliRunner().invoke(app, ["report", "--output", str(tmp_path / "page.html")])
    assert result.exit_code == 0, result.output
    assert "probe-unremix" in (tmp_path / "page.html").read_text()


def test_damaged_features_of_the_map_are_one_line(project, tmp_path):
    root = shutil.copytree(project, tmp_path / "copy")
    next(root.glob("runs/**/features.safetensors")).write_bytes(b"")
    with pytest.raises(UserError, match=r"features.safetensors: not a readable file of features .*; delete it and run"):
        build_report(rows_in(root), "default", {}, root)


def test_a_report_onto_a_stream_or_through_a_link(with_parameters, tmp_path, monkeypatch):
    """`--output /dev/stdout` writes to the device, as root too; what is said besides does not mix with the page."""
    monkeypatch.chdir(with_parameters)
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    assert CliRunner().invoke(app, ["report", "--output", str(tmp_path / "link.html")]).exit_code == 0
    assert (tmp_path / "link.html").is_symlink()
    page = (tmp_path / "page.html").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor() as pool:
        read = pool.submit((tmp_path / "pipe").read_bytes)
        result = CliRunner().invoke(app, ["report", "--output", str(tmp_path / "pipe")])
        assert read.result() == page
    assert result.exit_code == 0 and result.stdout == "" and "written: " in result.stderr
    assert (tmp_path / "pipe").is_fifo()


def wait_until_drawn(browser: Browser) -> int:
    for _ in range(200):
        drawn = browser.run("return document.documentElement.dataset.drawn")
        if drawn is not None:
            return int(drawn)
        time.sleep(0.1)
    raise AssertionError("the figures were not drawn")


def test_in_a_real_browser(page, tmp_path):
    """Opens offline without a console message, draws every figure, sorts, fits a phone, follows light and dark."""
    file = tmp_path / "report.html"
    file.write_text(page)
    with Browser(tmp_path / "profile") as browser:
        browser.devtools("Network.enable")
        browser.devtools(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        )
        browser.size(1280, 900)
        browser.open(file)
        assert wait_until_drawn(browser) == page.count('class="plot"')
        assert browser.run("return document.querySelectorAll('.plot .main-svg').length > 0")
        browser.screenshot(tmp_path / "desktop.png")

        column = "return [...document.querySelectorAll('table')[0].tBodies[0].rows].map(r => r.cells[{}].dataset.value)"
        click = "document.querySelectorAll('table')[0].tHead.rows[0].cells[{}].firstElementChild.click()"
        given = browser.run(column.format(0))
        browser.run(click.format(1))
        values = [float(value) for value in browser.run(column.format(1))]
        assert values == sorted(values, reverse=True) and len(set(values)) == len(values)
        browser.run(click.format(1))
        assert [float(value) for value in browser.run(column.format(1))] == sorted(values)
        browser.run(click.format(0))
        assert browser.run(column.format(0)) == given

        browser.size(390, 844)
        browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        time.sleep(1)
        assert browser.run("return document.documentElement.scrollWidth") <= 390
        assert browser.run("return document.querySelector('.plot').layout.font.color") == "#e6e8eb"
        browser.screenshot(tmp_path / "phone-dark.png")
        assert browser.messages() == []


def test_the_projects_own_report_in_a_real_browser(repository, tmp_path):
    """With CONTRASTBENCH_SCREENSHOTS=docs/images, this renders the documentation's pictures."""
    file = repository / "results/report.html"
    if not file.is_file():
        pytest.skip("no results/report.html; `snakemake --cores all` writes it")
    shots = Path(os.environ.get("CONTRASTBENCH_SCREENSHOTS", tmp_path))
    with Browser(tmp_path / "profile") as browser:
        browser.size(1280, 1600)
        browser.open(file)
        assert wait_until_drawn(browser) == browser.run("return document.querySelectorAll('.plot').length")
        browser.screenshot(shots / "report.png", whole=False)
        browser.size(390, 844)
        time.sleep(1)
        assert browser.run("return document.documentElement.scrollWidth") <= 390
        browser.screenshot(shots / "report-phone.png", whole=False)
        assert browser.messages() == []


def test_bars_of_a_line_are_the_interval_of_each_value():
    rows = [row("simclr", seed, correct=np.arange(16) < seed, protocol="clean") for seed in range(3)]
    (cell,) = cells_of(loaded(rows)).values()
    (line,) = accuracy_lines({"simclr": [(0.0, cell)]}, "radius").data
    assert cell.interval is not None
    low, high = cell.interval
    assert (line.y[0], line.error_y.array[0], line.error_y.arrayminus[0]) == pytest.approx(
        (100 * cell.mean, 100 * (high - cell.mean), 100 * (cell.mean - low)), abs=1e-3
    )
    assert low >= 0 and line.error_y.arrayminus[0] <= line.y[0]
