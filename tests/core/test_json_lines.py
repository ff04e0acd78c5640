"""Lines are whole, in order, held by one writer, and seen alike by those who write and those who read."""

import os

import pytest

from jaxrl_suite.core.files import NO_SUCH_LINE, JsonLines
from jaxrl_suite.errors import UserError


class Book(JsonLines):
    """Lines with an "x", all of which it sees."""

    def __init__(self, path, seen, **options):
        super().__init__(path, what="book", **options)
        self.seen = seen
        for line, place in self:
            try:
                self.seen.append((line["x"], place))
            except NO_SUCH_LINE:
                self.reject()

    def append(self, lines, **options):
        written = super().append(lines, **options)
        self.seen += [(line["x"], place) for line, place in written]
        return written


def opened(path, seen, **options):
    return Book(path, seen, **options)


def test_writer_and_reader_are_told_the_same(tmp_path):
    path, written, read = tmp_path / "new" / "book.jsonl", [], []
    lines = opened(path, written)
    lines.append([{"x": (1, 2)}, {"x": "ü"}])
    lines.append([])
    lines.append([{"x": None}], sync=False)
    reader = opened(path, read, read_only=True)
    assert written == read
    assert [x for x, _ in read] == [[1, 2], "ü", None]
    for file in (lines, reader):
        assert [file.read(place)["x"] for _, place in reversed(read)] == [None, "ü", [1, 2]]
    with pytest.raises(UserError, match=r"the book .* is in use by another process: wait"):
        opened(path, [])
    with pytest.raises(UserError, match="not open for writing"):
        reader.append([{"x": 0}])
    lines.close()
    with pytest.raises(UserError, match="not open for writing"):
        lines.append([{"x": 0}])
    opened(path, []).close()


def test_every_cut_leaves_the_lines_before_it(tmp_path):
    path, seen = tmp_path / "book", []
    lines = opened(path, seen)
    lines.append([{"x": 1}, {"x": [2, {}]}, {"x": "}"}])
    lines.close()
    whole = path.read_bytes()
    ends = [place.offset + place.size for _, place in seen]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        found = []
        lines = opened(path, found)
        lines.append([{"x": "next"}])
        lines.close()
        kept = sum(end - 1 <= cut for end in ends)  # a line that lacks only its end is kept
        assert [x for x, _ in found] == [x for x, _ in seen[:kept]] + ["next"]
        again = []
        opened(path, again, read_only=True).close()
        assert [x for x, _ in again] == [x for x, _ in found]


def test_a_line_of_another_kind_is_damage_and_left_alone(tmp_path):
    path = tmp_path / "book"
    path.write_bytes(b'{"x": 1}\n{"y": 1}\n')
    with pytest.raises(UserError, match=r"book, line 2 is damaged: ask$"):
        opened(path, [], damaged="ask")
    assert path.read_bytes() == b'{"x": 1}\n{"y": 1}\n'
    with pytest.raises(UserError, match=r"cannot open the book .*: write one"):
        opened(tmp_path / "none", [], read_only=True, missing="write one")


def test_a_failed_write_leaves_nothing_of_itself(tmp_path, monkeypatch):
    path, seen = tmp_path / "book", []
    lines = opened(path, seen)
    lines.append([{"x": 1}])
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match=r"cannot write the book .*: No space left on device; make room and resume"):
        lines.append([{"x": 2}, {"x": 3}])
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert len(seen) == 1
    lines.append([{"x": 4}])
    assert [x for x, _ in seen] == [1, 4]
