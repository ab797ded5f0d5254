"""Metrics: exact, strict, flushed, and cut back to where a checkpoint stood."""

import errno
import json
import math
import os

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from latentplan.driver import logging as logging_module
from latentplan.driver.logging import MetricsLog, prepare_logdir, read_metrics, write_json_atomic
from latentplan.files import DiskFull


def read_events(logdir) -> list[Event]:
    """TensorBoard's records: length, checksum, bytes, checksum."""
    events = []
    for path in sorted(logdir.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            events.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return events


def scalars(logdir) -> list[tuple]:
    return [(e.step, v.tag, v.simple_value) for e in read_events(logdir) for v in e.summary.value]


def test_one_line_per_write_and_floats_come_back_exactly(tmp_path):
    log = MetricsLog(tmp_path)
    third = np.float32(1) / np.float32(3)
    values = {"a": 0.1, "b": third, "c": jnp.asarray(2.5), "d": np.int64(4), "e": jnp.asarray(1.5, jnp.bfloat16)}
    log.write({"env_steps": 10, "updates": 2}, {**values, "kind": "eval", "ok": np.bool_(True)})
    # Not closed: a line is on the disk as soon as it is written.
    row = read_metrics(tmp_path / "metrics.jsonl")[0]
    assert row == {
        "env_steps": 10,
        "updates": 2,
        "a": 0.1,
        "b": float(third),
        "c": 2.5,
        "d": 4,
        "e": 1.5,
        "kind": "eval",
        "ok": True,
    }
    assert np.float32(row["b"]) == third
    assert list(row)[:2] == ["env_steps", "updates"]
    log.write({"env_steps": 20, "updates": 4}, {"a": 1.0})
    assert len(read_metrics(log.path)) == 2
    log.close()


def test_the_file_is_strict_json(tmp_path):
    log = MetricsLog(tmp_path)
    log.write({"env_steps": 1}, {"nan": math.nan, "inf": jnp.inf, "fine": 1.0})

    def refuse(constant):
        raise AssertionError(constant)

    line = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert line == {"env_steps": 1, "nan": None, "inf": None, "fine": 1.0}
    assert math.isnan(read_metrics(log.path)[0]["nan"])
    log.close()


@pytest.mark.parametrize(
    ("counters", "metrics", "message"),
    [
        ({"updates": 1}, {}, "expected env_steps"),
        ({"env_steps": 1}, {"env_steps": 2.0}, "in both"),
        ({"env_steps": 1}, {"loss": np.zeros((3, 1))}, "loss: expected a scalar or a vector"),
        ({"env_steps": 1}, {"loss": [[1], {}]}, "loss.1.: expected a scalar or a vector"),
    ],
)
def test_bad_rows_are_refused_and_leave_no_line(tmp_path, counters, metrics, message):
    log = MetricsLog(tmp_path)
    with pytest.raises(ValueError, match=message):
        log.write(counters, metrics)
    assert log.position() == 0
    log.close()


def test_tensorboard_has_env_steps_as_its_axis(tmp_path):
    log = MetricsLog(tmp_path)
    log.write({"env_steps": 10, "updates": 1}, {"loss": 0.5, "kind": "train"})
    log.write({"env_steps": 20, "updates": 2}, {"loss": 0.25})
    assert scalars(tmp_path) == [(10, "loss", 0.5), (20, "loss", 0.25)]
    log.close()


def test_rewinding_makes_the_file_that_of_an_uninterrupted_run(tmp_path):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    rows = [({"env_steps": 10 * n}, {"loss": 1 / (n + 1)}) for n in range(6)]
    for logdir in (straight, resumed):
        logdir.mkdir()
        log = MetricsLog(logdir)
        for row in rows[:3]:
            log.write(*row)
        position = log.position()
        assert position == os.path.getsize(log.path)
        for row in rows[3:]:
            log.write(*row)
        log.close()
    log = MetricsLog(resumed)
    assert log.rewind(position) == position
    assert len(read_metrics(log.path)) == 3
    for row in rows[3:]:
        log.write(*row)
    log.close()
    assert (straight / "metrics.jsonl").read_bytes() == (resumed / "metrics.jsonl").read_bytes()
    starts = [event.step for event in read_events(resumed) if event.HasField("session_log")]
    assert starts == [21]  # TensorBoard drops what it had at step 21 and later
    assert len(list(resumed.glob("events.out.tfevents.*"))) == 2


def test_a_log_rewound_to_zero_starts_afresh(tmp_path):
    log = MetricsLog(tmp_path)
    log.write({"env_steps": 1}, {})
    assert log.rewind(0) == 0
    log.write({"env_steps": 2}, {})
    assert read_metrics(log.path) == [{"env_steps": 2}]
    log.close()


def test_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"env_steps": 1}\n{"env_steps": 2, "lo')
    assert read_metrics(path) == [{"env_steps": 1}]
    log = MetricsLog(tmp_path)
    assert log.position() == 17
    log.write({"env_steps": 2}, {"loss": 1.0})
    assert read_metrics(path) == [{"env_steps": 1}, {"env_steps": 2, "loss": 1.0}]
    assert log.rewind(20) == 17
    log.close()


def test_lost_lines_are_reported_not_padded(tmp_path):
    log = MetricsLog(tmp_path)
    log.write({"env_steps": 1}, {})
    messages = []
    assert log.rewind(1000, messages.append) == 17
    assert "expected at least 1000 bytes, got 17" in messages[0]
    assert log.path.read_bytes() == b'{"env_steps": 1}\n'
    log.close()


def test_a_garbled_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"env_steps": 1}\nnonsense\n{"env_steps": 3}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_metrics(path)


def test_a_full_disk_leaves_whole_lines(tmp_path):
    log = MetricsLog(tmp_path)
    log.write({"env_steps": 1}, {})
    file = log._file

    class Full:
        """Takes 5 bytes, then has no room."""

        room = True

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.room = False
            return file.write(data[:5])

        def __getattr__(self, name):
            return getattr(file, name)

    log._file = Full()
    with pytest.raises(DiskFull, match=r"metrics\.jsonl"):
        log.write({"env_steps": 2}, {})
    log._file = file
    assert log.path.read_bytes() == b'{"env_steps": 1}\n'
    log.write({"env_steps": 2}, {})
    assert len(read_metrics(log.path)) == 2
    log.close()


def test_json_is_written_whole(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    write_json_atomic(path, {"seed": 1, "shape": [64, 64, 3]})
    assert json.loads(path.read_text()) == {"seed": 1, "shape": [64, 64, 3]}
    with pytest.raises(TypeError):
        write_json_atomic(path, {"array": np.zeros(2)})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        write_json_atomic(path, {"seed": 2})
    assert json.loads(path.read_text())["seed"] == 1
    assert os.listdir(tmp_path) == ["config.json"]


def test_the_log_directory_is_made_and_left_clean(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logdir = prepare_logdir("runs/one")
    assert logdir == tmp_path / "runs" / "one"
    assert prepare_logdir(logdir) == logdir
    assert os.listdir(logdir) == []


def test_a_log_directory_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"logdir: expected a directory, got the file .*choose another"):
        prepare_logdir(tmp_path / "file")
    with pytest.raises(ValueError, match="logdir: expected a writable directory"):
        prepare_logdir(tmp_path / "file" / "below")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_log_directory_that_cannot_be_written_is_refused(tmp_path, monkeypatch, code):
    def refused(self, text):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(logging_module.Path, "write_text", refused)
    with pytest.raises(ValueError, match=f"expected a writable directory, got .*{os.strerror(code)}.*permissions"):
        prepare_logdir(tmp_path / "run")
