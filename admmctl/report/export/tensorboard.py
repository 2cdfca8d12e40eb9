"""TensorBoard's event files, written by tensorboardX: a folder per run, with one file of a fixed name."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from admmctl.files import to_json
from admmctl.report.export.source import Exported, utf8

FILE = "events.out.tfevents.0.admmctl"


def write(runs: list[Exported], folder: Path, home: Path, say: Callable[[int, int], None]) -> None:
    """A folder per run, with one event file."""
    from tensorboardX.record_writer import RecordWriter

    for done, run in enumerate(runs):
        say(done, len(runs))
        place = folder / run.name
        place.mkdir(parents=True)
        writer = RecordWriter(str(place / FILE))
        try:
            for event in events(run):
                writer.write(event.SerializeToString())
        finally:
            writer.close()


def events(run: Exported) -> Iterator[Any]:
    """The events of a run: its settings, every evaluation, its summary."""
    from tensorboardX.proto import plugin_hparams_pb2 as hparams
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    def event(wall_time: float, step: int, *values: Any) -> Any:
        return Event(wall_time=wall_time, step=step, summary=Summary(value=values))

    yield Event(wall_time=run.started, file_version="brain.Event:2")
    start = hparams.SessionStartInfo(group_name=_text(run.experiment), start_time_secs=run.started)
    for key, value in run.settings.items():
        if isinstance(value, bool):
            start.hparams[_text(key)].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[_text(key)].number_value = value
        elif value is not None:
            start.hparams[_text(key)].string_value = _text(str(value))
    content = hparams.HParamsPluginData(session_start_info=start)
    yield event(run.started, 0, _of_plugin("_hparams_/session_start_info", content))
    yield event(run.started, 0, _markdown("config", run.settings), _markdown("machine", run.machine))
    for row in run.curve:
        columns = {name: value for name, value in row.items() if name not in ("iteration", "wall_s")}
        scalars = [Summary.Value(tag=_text(name), simple_value=value) for name, value in columns.items()]
        yield event(run.started + row["wall_s"], int(row["iteration"]), *scalars)
    last = int(run.curve[-1]["iteration"]) if run.curve else 0
    yield event(run.ended, last, _markdown("summary", run.summary))
    status = {"failed": "STATUS_FAILURE", "unfinished": "STATUS_RUNNING"}.get(run.summary["status"])
    end = hparams.SessionEndInfo(status=status or "STATUS_SUCCESS", end_time_secs=run.ended)
    content = hparams.HParamsPluginData(session_end_info=end)
    yield event(run.ended, last, _of_plugin("_hparams_/session_end_info", content))


def _of_plugin(tag: str, content: Any) -> Any:
    """A value that only its metadata speaks for."""
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
    return Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))


def _markdown(tag: str, block: Mapping[str, Any]) -> Any:
    """A value that is a table of text."""
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboardX.proto.tensor_pb2 import TensorProto
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

    tensor = TensorProto(dtype="DT_STRING", tensor_shape=TensorShapeProto(), string_val=[utf8(_listed(block))])
    plugin = SummaryMetadata.PluginData(plugin_name="text")
    return Summary.Value(tag=tag, tensor=tensor, metadata=SummaryMetadata(plugin_data=plugin))


def _text(text: str) -> str:
    return utf8(text).decode()


def _listed(block: Mapping[str, Any]) -> str:
    """A Markdown table."""
    rows = [(key, value if isinstance(value, str) else json.loads(to_json(value))) for key, value in block.items()]
    lines = [f"| {key} | {str(value).replace('|', '&#124;')} |" for key, value in rows]
    return "\n".join(["| key | value |", "|---|---|", *lines])
