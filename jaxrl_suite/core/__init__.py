"""Parts that every run shares.

`run` is the run folder and its loop, `config` turns frozen dataclasses into JSON and back, `checkpoint` isolates orbax,
`devices` places batches and compiles, `stats` makes intervals, `plot` and `report` show the result, `claims` reads
the table of published claims; `loop`, `metrics`, `folder` and `files` are the parts of `run`. Import the module that
you need: nothing is imported here, so that commands which only list things start quickly.
"""
