import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from report_project import image_rows, make_project
from reporting_rows import asked, loaded, parameters, row, verdicts, write
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

BOX = r"<title>([a-z-]+)</title><rect x=.(\d+).[^<]*<text[^>]*>([a-z]+)<"
STEPS = {"prepare": [], "pretrain-unremix": ["prepare"], "probe-unremix": ["prepare", "pretrain-unremix"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


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
    tables = re.findall(r'<h4 id="[^"]+">(mnist5k|instruments): ', page)
    assert page.count("How to read this:") == len(tables)


def test_failed_checks_stand_at_the_top_and_in_the_table(page):
    assert page.index("Failed sanity checks: 1") < page.index('<h2 id="unremix">')
    assert page.count('<li class="warning">') == 1
    assert re.search(r'class=" failed"\s+title="[^"]*gradients are masked"', page)


def test_absent_data_leave_sections_out(tmp_path):
    write(tmp_path, [row()])
    page = build_report(rows_in(tmp_path), "default", {}, tmp_path)
    for absent in (">Figures<", "Gallery", "Pipeline</h2>", "Failed sanity", ">Ablation<"):
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
    left = {int(x): (name, said) for name, x, said in re.findall(BOX, drawing)}
    assert [left[x] for x in sorted(left)] == [(name, name.partition("-")[0]) for name in STEPS]
    bands = dag_svg({**STEPS, "pretrain-swaro": ["prepare"], "attack-swaro": ["pretrain-swaro"]})
    rows = {name: int(y) for name, y in re.findall(r"<title>([a-z-]+)</title><rect x=.\d+. y=.(\d+)", bands)}
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
