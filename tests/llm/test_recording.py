"""What was paid for is on disk, is read back bit for bit, and is never paid for again."""

import dataclasses
import json

import numpy as np
import pytest

from jaxrl_suite.llm.protocol import Capabilities, Completion, Decoding, Reply, Request, Usage
from jaxrl_suite.llm.recorder import Recorder, ReplaySampler
from jaxrl_suite.llm.recording import Draw, Recording, RecordingError, split_usage

CAPABILITIES = Capabilities(prefix=True, logprobs=True, seed=False, fork=False, tokens=True, text=True)


class Model:
    """Draw d of a path is text "path:d"; counts what it was asked."""

    name = "model"
    capabilities = CAPABILITIES

    def __init__(self, gives=10**9):
        self.asked, self.gives = [], gives

    def sample(self, requests):
        replies = []
        for request in requests:
            self.asked.append((request.path, request.first_draw, request.num_samples))
            draws = range(request.first_draw, request.first_draw + min(request.num_samples, self.gives))
            completions = tuple(
                Completion(
                    f"{request.path}:{d} é\u2028\n",
                    np.asarray([d, d + 1], np.int32),
                    np.asarray([-0.1 * d, -1e-30], np.float32),
                    "stop",
                    2 + d,
                )
                for d in draws
            )
            usage = Usage(len(draws), 1, 5, 1, sum(2 + d for d in draws), seconds=0.1)
            error = None if len(draws) == request.num_samples else "the model is tired"
            replies.append(Reply(completions, usage, usage, error))
        return replies

    def score(self, pairs):
        return [np.zeros(len(tokens), np.float32) for _, tokens in pairs]


def request(path=(0,), num_samples=2, **options) -> Request:
    return Request("question", num_samples, path=path, **options)


def same(a: Completion, b: Completion) -> bool:
    return (
        (a.text, a.finish, a.num_tokens) == (b.text, b.finish, b.num_tokens)
        and a.tokens.dtype == b.tokens.dtype
        and a.logprobs.dtype == b.logprobs.dtype
        and a.tokens.tobytes() + a.logprobs.tobytes() == b.tokens.tobytes() + b.logprobs.tobytes()
    )


def test_draws_on_record_are_not_paid_for_again(tmp_path):
    model, path = Model(), tmp_path / "deep" / "r.jsonl"
    with Recording(path) as recording:
        first = Recorder(model, recording).sample([request(), request((1,))])
        assert [reply.fresh for reply in first] == [reply.usage for reply in first]
    with Recording(path) as recording:
        recorder = Recorder(model, recording)
        again = recorder.sample([request(), request((1,))])
        assert len(model.asked) == 2
        more = recorder.sample([request(num_samples=4)])[0]
        assert model.asked[2:] == [((0,), 2, 2)]
    for old, new in zip(first, again, strict=True):
        assert all(same(a, b) for a, b in zip(old.completions, new.completions, strict=True))
        assert (new.usage, new.fresh) == (old.usage, Usage())
    assert more.fresh == Usage(2, 1, 5, 1, 9, seconds=0.1)
    assert more.usage == first[0].usage + more.fresh
    assert [str(c.text)[:5] for c in more.completions] == ["(0,):"] * 4
    with Recording(path, read_only=True) as recording:
        assert len(recording) == 6
        assert recording.by_role == {"solve": first[0].usage + first[1].usage + more.fresh}
        assert recording.samplers == {"model": CAPABILITIES}


def test_gaps_and_shared_draws_are_asked_for_once(tmp_path):
    model = Model()
    with Recording(tmp_path / "r.jsonl") as recording:
        recorder = Recorder(model, recording)
        recorder.sample([request(first_draw=2, num_samples=1)])
        replies = recorder.sample(
            [request(num_samples=4), request(num_samples=2), request(first_draw=1, num_samples=5)]
        )
    assert model.asked[1:] == [((0,), 0, 2), ((0,), 3, 1), ((0,), 4, 2)]
    draws = [[c.num_tokens - 2 for c in reply.completions] for reply in replies]
    assert draws == [[0, 1, 2, 3], [0, 1], [1, 2, 3, 4, 5]]
    assert sum((reply.fresh for reply in replies), Usage()).samples == 5
    assert replies[1].fresh == Usage()


def test_another_model_or_decoding_is_another_key(tmp_path):
    model = Model()
    with Recording(tmp_path / "r.jsonl") as recording:
        recorder = Recorder(model, recording)
        recorder.sample([request()])
        recorder.sample([request(decoding=Decoding(max_tokens=9))])
        recorder.sample([request(role="judge")])  # the role is for the ledger, the draw is the same
        model.name = "model 2"
        recorder.sample([request()])
    assert len(model.asked) == 3


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_a_torn_last_line_is_cut_off(tmp_path, cut):
    model, path = Model(), tmp_path / "r.jsonl"
    with Recording(path) as recording:
        Recorder(model, recording).sample([request()])
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    path.write_bytes(whole[: last + cut] if cut > 0 else whole[: -1 + cut])
    with Recording(path, read_only=True) as recording:
        assert len(recording) == 1
    with Recording(path) as recording:
        Recorder(model, recording).sample([request()])
    assert model.asked[1:] == [((0,), 1, 1)]
    assert [json.loads(line).get("draw") for line in path.read_text().splitlines()] == [None, 0, 1]


def test_a_last_line_that_lacks_only_its_end_is_kept(tmp_path):
    model, path = Model(), tmp_path / "r.jsonl"
    with Recording(path) as recording:
        Recorder(model, recording).sample([request()])
    path.write_bytes(path.read_bytes()[:-1])
    with Recording(path) as recording:
        Recorder(model, recording).sample([request(num_samples=3)])
    assert model.asked[1:] == [((0,), 2, 1)]
    with Recording(path) as recording:
        assert len(recording) == 3


@pytest.mark.parametrize(
    "damage",
    [
        b"\0\0\0",
        b"[]",
        b"{}",
        b'{"key": "a", "draw": -1, "role": "solve", "usage": {}, "completion": null}',
        b'{"key": "a", "draw": null, "role": "solve", "usage": {"dollars": 1}}',
        b'{"sampler": "x", "capabilities": {}}',
        b"[" * 10**5,
        b'{"key": "a", "draw": 0, "role": "r", "usage": {}, "completion": '
        b'{"text": null, "tokens": [4294967296], "logprobs": null, "finish": "stop", "num_tokens": 1}}',
    ],
)
def test_damage_names_file_and_line(tmp_path, damage):
    path = tmp_path / "r.jsonl"
    with Recording(path) as recording:
        Recorder(Model(), recording).sample([request()])
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], damage, *lines[2:], b""]))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"r\.jsonl, line 3 is damaged: delete that line") as caught:
        Recording(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_one_writer_at_a_time(tmp_path):
    path = tmp_path / "r.jsonl"
    with Recording(path) as recording:
        Recorder(Model(), recording).sample([request()])
        with pytest.raises(ValueError, match="in use by another process: wait for it"):
            Recording(path)
        with Recording(path, read_only=True) as reader:
            assert len(reader) == 2
            with pytest.raises(ValueError, match="not open for writing"):
                reader.add("k", "solve", [(0, Draw(Completion("", None, None, "stop", 0), Usage()))])
    with Recording(path):
        pass


def test_a_recording_that_is_not_open_is_said_before_anything_is_paid(tmp_path):
    path, model = tmp_path / "r.jsonl", Model()
    with Recording(path) as recording:
        recorder = Recorder(model, recording)
        recorder.sample([request()])
    with pytest.raises(RecordingError, match="not open for writing"):
        recorder.sample([request((1,))])
    with pytest.raises(ValueError, match="is closed: use it while it is open"):
        recorder.sample([request()])
    with Recording(path, read_only=True) as reader, pytest.raises(RecordingError, match="open it without read_only"):
        Recorder(model, reader)
    assert len(model.asked) == 1


def test_an_error_of_a_reply_that_is_complete_is_passed_on(tmp_path):
    class Odd(Model):
        def sample(self, requests):
            return [dataclasses.replace(reply, error="no log-probabilities") for reply in super().sample(requests)]

    with Recording(tmp_path / "r.jsonl") as recording:
        reply = Recorder(Odd(), recording).sample([request()])[0]
    assert (len(reply.completions), reply.error) == (2, "no log-probabilities")
    assert reply.fresh == reply.usage


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(ValueError, match="record it first"):
        Recording(tmp_path / "none.jsonl", read_only=True)
    with pytest.raises(ValueError, match="choose another path"):
        Recording(tmp_path)


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    import os

    path, model = tmp_path / "r.jsonl", Model()
    with Recording(path) as recording:
        recorder = Recorder(model, recording)
        recorder.sample([request()])
        write, calls = os.write, []

        def full(handle, data):
            calls.append(1)
            if len(calls) > 1:
                raise OSError(28, "No space left on device")
            return write(handle, data[:20])

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(RecordingError, match="No space left on device; make room and resume"):
            recorder.sample([request((1,))])
        monkeypatch.undo()
        assert recorder.sample([request()])[0].fresh == Usage()
        recorder.sample([request((2,))])
    with Recording(path) as recording:
        assert len(recording) == 4


def test_fewer_completions_than_asked_are_kept_and_said(tmp_path):
    model = Model(gives=1)
    with Recording(tmp_path / "r.jsonl") as recording:
        recorder = Recorder(model, recording)
        replies = recorder.sample([request(num_samples=3), request(num_samples=3)])
        assert [len(reply.completions) for reply in replies] == [1, 1]
        assert [reply.error for reply in replies] == ["the model is tired"] * 2
        model.gives = 9
        assert recorder.sample([request(num_samples=3)])[0].error is None
        assert model.asked[-1] == ((0,), 1, 2)
        model.gives = 0
        paid = recorder.sample([request((3,))])[0]
        assert paid.usage == paid.fresh == Usage(0, 1, 5, 1, 0, seconds=0.1)
        assert recording.by_role["solve"].requests == 3


def test_a_replay_needs_no_model_and_says_what_is_missing(tmp_path):
    path = tmp_path / "r.jsonl"
    with Recording(path) as recording:
        told = Recorder(Model(), recording).sample([request(num_samples=3)])[0]
    with Recording(path, read_only=True) as recording:
        replay = ReplaySampler(recording)
        assert replay.name == "model"
        assert replay.capabilities == CAPABILITIES._replace(seed=True)
        reply = replay.sample([request(num_samples=3)])[0]
        assert all(same(a, b) for a, b in zip(told.completions, reply.completions, strict=True))
        assert (reply.usage, reply.fresh) == (told.usage, Usage())
        with pytest.raises(
            ValueError, match=r"has no draw 3 of a 'solve' request with path \(0,\): record it"
        ) as caught:
            replay.sample([request(num_samples=4)])
        assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match="use the sampler itself"):
            replay.score([("question", (1,))])
        with pytest.raises(ValueError, match="Did you mean model"):
            ReplaySampler(recording, "modle")


def test_several_samplers_share_a_file(tmp_path):
    path, other = tmp_path / "r.jsonl", Model()
    other.name = "other"
    with Recording(path) as recording:
        Recorder(Model(), recording).sample([request()])
        Recorder(other, recording).sample([request()])
    with Recording(path, read_only=True) as recording:
        with pytest.raises(ValueError, match="Choose from: model, other"):
            ReplaySampler(recording)
        assert ReplaySampler(recording, "other").sample([request()])[0].error is None
        assert recording.by_role["solve"].samples == 4


def test_the_parts_of_an_exchange_add_up():
    completions = [Completion(None, None, None, "stop", n) for n in (3, 4, 5)]
    usage = Usage(3, 2, 7, 1, 13, 1, 0, 0.5)
    parts = split_usage(usage, completions)
    assert sum(parts, Usage()) == usage
    assert parts[1:] == [Usage(samples=1, output_tokens=4), Usage(samples=1, output_tokens=5)]
    assert parts[0] == dataclasses.replace(usage, samples=1, output_tokens=4)
