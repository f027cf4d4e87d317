"""The command lines: help, defaults and errors."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import evaluate
import predict
import profile_val
import train
from configs import Config
from dbnet.checkpoint import save_checkpoint
from dbnet.errors import InputError
from dbnet.inference.weights import origin, released_weights
from dbnet.reporting.tables import write_json
from dbnet.section import to_dict
from dbnet.settings import DataConfig, PostprocessConfig, SplitDataConfig
from tests.drawing import write_dataset
from tests.programs import said_before_torch

ROOT = Path(__file__).parents[2]


def script(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / words[0]), *words[1:]],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
    )


BATCH_SIZE = ("--data.batch-size INT", "Images per batch,")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train.py", BATCH_SIZE),
        ("evaluate.py", BATCH_SIZE),
        ("profile_val.py", BATCH_SIZE),
        ("predict.py", ("--batch-size INT", "Images, folders of them, globs")),
    ],
)
def test_help_explains_and_does_not_import_torch(name, expected):
    said = said_before_torch(name, "--help")
    assert said.splitlines()[-1] in ("0", "None")
    for words in expected:
        assert words in said


PROGRAMS = ["train.py", "evaluate.py", "profile_val.py", "predict.py"]
MODULES = ["dbnet.convert", "dbnet.export", "dbnet.release"]


@pytest.mark.parametrize("name", PROGRAMS + MODULES)
def test_help_fits_80_columns_and_has_examples(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = said_before_torch(name, "--help")
    assert [line for line in said.splitlines() if len(line) > 80] == []
    assert "\n\n\n" not in said
    _, _, after = said.partition("\n\nExamples:\n")
    examples, _, _ = after.partition("\n\n")
    command = f"python -m {name} " if name in MODULES else f"python {name} "
    assert sum(command in line for line in examples.splitlines()) >= 1


@pytest.mark.parametrize("name", PROGRAMS + MODULES)
def test_flags_of_the_examples_are_flags_of_the_program(name):
    said = said_before_torch(name, "--help")
    _, _, after = said.partition("\n\nExamples:\n")
    examples, _, options = after.partition("\n\n")
    own = [line for line in examples.splitlines() if name in line.partition("--")[0]]
    named = {flag for line in own for flag in re.findall(r"--[a-z][a-z.-]*", line)}
    assert named - {"--nproc-per-node"} <= set(re.findall(r"--[a-z][a-z.-]*", options))


@pytest.mark.parametrize("name", ["dbnet.export", "dbnet.release"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--help"], "python predict.py scans/ --"),
        (["--checkpoint", "nothing.pt", "--out", "x"], "nothing.pt: no such checkpoint"),
        (["--checkpoint", "nothing.pt", "--out", "README.md"], "README.md: is there already"),
        (["--checkpoint", "nothing.pt", "--out", "README.md/x"], "README.md: cannot be written"),
    ],
)
def test_commands_answer_before_torch_is_imported(name, words, told):
    assert told in said_before_torch(name, *words)


@pytest.mark.parametrize("name", ["train.py", "profile_val.py"])
def test_an_unknown_encoder_is_told_before_torch(name):
    said = said_before_torch(name, "--model.encoder", "resnet999")
    assert said.startswith(f"{name}: --model.encoder resnet999: timm has no such model; did you")
    assert "resnet50" in said


def test_convert_tells_an_error_as_the_others_do(tmp_path):
    said = said_before_torch("dbnet.convert", str(tmp_path / "a"), "--to", "coco", "--out", "b")
    assert said.startswith(f"python -m dbnet.convert: {tmp_path}/a: no such folder")
    assert len(said.splitlines()) == 1


def test_a_mistyped_flag_suggests_the_right_one():
    done = script("train.py", "--data.batchsize", "12")
    assert done.returncode != 0
    assert "--data.batch-size" in done.stderr


def test_a_contradiction_names_the_flag(tmp_path):
    done = script("train.py", "--data.image-size", "100", cwd=tmp_path)
    assert done.returncode != 0
    assert "--data.image-size 100: must be a multiple of 32" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_root_is_one_line(tmp_path):
    done = script("train.py", "--data.root", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "nowhere" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (evaluate, ["evaluate.py"]),
        (profile_val, ["profile_val.py"]),
        (predict, ["predict.py", "a"]),
    ],
)
def test_all_programs_take_weights_by_one_rule(program, words, checkpoints, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", words)
    assert program.parse().checkpoint == released_weights()
    assert program.parse().postprocess.box_thresh == 0.45
    for number, checkpoint in enumerate(checkpoints):
        best = Path("runs") / str(number) / "best.pt"
        best.parent.mkdir(parents=True)
        shutil.copy(checkpoint, best)
        os.utime(best, (number, number))
        assert program.parse().checkpoint == best
        assert origin(best) == "the newest under runs/"
    monkeypatch.setattr(sys, "argv", [*words, "--checkpoint", "runs/0/best.pt"])
    assert str(program.parse().checkpoint) == "runs/0/best.pt"
    assert (origin(Path("runs/0/best.pt")), origin(released_weights())) == (
        "as named",
        "released",
    )


@pytest.mark.parametrize("name", ["evaluate.py", "profile_val.py", "predict.py"])
def test_help_shows_the_values_that_would_run(name):
    shown = " ".join(script(name, "--help", "--checkpoint", str(released_weights())).stdout.split())
    assert "(default: 1024)" in shown and "(default: 640)" not in shown


@pytest.mark.parametrize("words", [["{}"], ["--data", "{}"], ["--data={}"]])
def test_a_folder_without_its_flag_gets_the_flag_suggested(words, tmp_path, monkeypatch):
    words = [word.format(tmp_path) for word in words]
    monkeypatch.setattr(sys, "argv", ["train.py", *words, "--train.epochs", "3"])
    with pytest.raises(InputError, match=f"did you mean --data.root {tmp_path}"):
        train.parse()


def test_missing_weights_are_refused_before_torch_is_imported(tmp_path):
    said = said_before_torch("evaluate.py", "--checkpoint", "nothing.pt", cwd=tmp_path)
    assert said == "evaluate.py: nothing.pt: no such checkpoint\n"


def test_resume_takes_the_run_s_own_settings(tmp_path, monkeypatch):
    write_json(tmp_path / "config.json", to_dict(Config()) | {"data": {"batch_size": 5}})
    save_checkpoint(tmp_path / "last.pt", {"model_args": {}, "model": {}, "ema": None})
    words = ["train.py", "--train.resume", str(tmp_path), "--train.epochs", "7"]
    monkeypatch.setattr(sys, "argv", words)
    cfg, earlier = train.parse()
    assert (cfg.data.batch_size, cfg.train.epochs, cfg.train.resume) == (5, 7, tmp_path)
    assert (earlier.config.data.batch_size, earlier.config.train.epochs) == (5, 200)


def test_resume_wants_the_folder(tmp_path, monkeypatch):
    (tmp_path / "last.pt").write_bytes(b"")
    monkeypatch.setattr(sys, "argv", ["train.py", "--train.resume", str(tmp_path / "last.pt")])
    with pytest.raises(InputError, match=f"last.pt: is a file; give the run's folder, {tmp_path}"):
        train.parse()


@pytest.fixture
def checkpoints(tmp_path):
    """Two runs that differ in a setting, each with drawn receipts among its own images."""
    write_dataset(tmp_path, train=1, val=1)
    for name, box_thresh in (("a", 0.3), ("b", 0.7)):
        cfg = Config(
            data=DataConfig(root=tmp_path, drawn_mix=2),
            postprocess=PostprocessConfig(box_thresh=box_thresh),
        )
        payload = {"model_args": {}, "model": {}, "ema": None, "config": to_dict(cfg)}
        save_checkpoint(tmp_path / f"{name}.pt", payload)
    return [str(tmp_path / f"{name}.pt") for name in "ab"]


def test_the_last_of_a_flag_counts(checkpoints, monkeypatch):
    a, b = checkpoints
    for words in (["--checkpoint", a, "--checkpoint", b], [f"--checkpoint={a}", "--checkpoint", b]):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *words])
        cfg = evaluate.parse()
        assert (str(cfg.checkpoint), cfg.postprocess.box_thresh) == (b, 0.7)


def test_drawn_receipts_of_the_training_are_not_evaluated(checkpoints, tmp_path, monkeypatch):
    words = ["evaluate.py", "--checkpoint", checkpoints[0], "--data.root"]
    monkeypatch.setattr(sys, "argv", [*words, str(tmp_path)])
    assert evaluate.parse().data == SplitDataConfig(root=tmp_path)
    monkeypatch.setattr(sys, "argv", [*words, "None"])
    assert evaluate.parse().data == SplitDataConfig()


def test_missing_weights_or_a_taken_name_is_refused_while_parsing(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "file").touch()
    write_json(tmp_path / "begun" / "config.json", to_dict(Config()))
    for words, told in (
        (["--model.weights", "nothing.pt"], "nothing.pt: no such checkpoint"),
        (["--train.name", "mine", "--train.out", str(tmp_path)], "mine: exists; choose another"),
        (["--train.out", f"{tmp_path}/file/runs"], "file: cannot be written"),
        (["--train.resume", f"{tmp_path}/begun"], "last.pt: no such checkpoint"),
        (
            ["--model.weights", str(released_weights())],
            "has another network; add --model.encoder efficientnet_lite0 --model.fpn-channels 96",
        ),
    ):
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        with pytest.raises(InputError, match=told):
            train.parse()


@pytest.mark.faults("mirrored print as paper beside mirrored text", "refused, with the flag")
def test_show_through_needs_texts_that_are_not_mirrored(monkeypatch, tmp_path):
    words = ["train.py", "--augment.show-through", "0.2"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(InputError, match=r"--augment\.flip 0\.5 mirrors text; add --augment"):
        train.parse()
    monkeypatch.setattr(sys, "argv", [*words, "--augment.flip", "0"])
    assert train.parse()[0].augment.show_through == 0.2


@pytest.mark.parametrize("program", [evaluate, profile_val])
def test_results_that_cannot_be_written_are_refused_while_parsing(program, tmp_path, monkeypatch):
    (tmp_path / "config.json").touch()
    (tmp_path / "profile.json").touch()
    for out, told in (
        (tmp_path, "json: exists"),
        (tmp_path / "config.json/x", "cannot be written"),
    ):
        monkeypatch.setattr(sys, "argv", ["program", "--out", str(out)])
        with pytest.raises(InputError, match=told):
            program.parse()


def test_a_baseline_that_is_none_is_refused_while_parsing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["profile_val.py", "--baseline", str(tmp_path / "none.json")])
    with pytest.raises(InputError, match=r"none\.json: cannot be read as a profile"):
        profile_val.parse()


def test_files_without_images_are_refused_before_torch_is_imported(tmp_path):
    said = said_before_torch("predict.py", "nothing.jpg", "more.jpg", cwd=tmp_path)
    assert "nothing.jpg: none of 2 images is there; name images" in said
    assert list(tmp_path.iterdir()) == []


TRAINING_ONLY = ("train-size", "drawn-mix", "fill-cache", "check-only")


@pytest.mark.parametrize("name", TRAINING_ONLY)
@pytest.mark.parametrize("program", [evaluate, profile_val])
def test_flags_of_training_alone_are_refused_elsewhere(program, name, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program", f"--data.{name}", "64"])
    with pytest.raises(SystemExit) as stop:
        program.parse()
    assert stop.value.code == 2


@pytest.mark.faults("a slim container without libGL", "one line, with the package to install")
@pytest.mark.parametrize("name", ["train.py", "evaluate.py", "profile_val.py", "predict.py"])
def test_an_opencv_without_its_libraries_is_one_line(name, tmp_path, monkeypatch):
    message = "libGL.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({message!r})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write_dataset(tmp_path / "pages", train=1, val=1)
    words = ["page.png"] if name == "predict.py" else ["--data.root", str(tmp_path / "pages")]
    done = script(name, *words, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{name}: OpenCV cannot be imported ({message}); ")
    assert "opencv-python-headless" in line
