"""The model card of a training run: what the model is, how good it is and on what, and how to use it.

Every number comes from the run's record, its metrics and its evaluations. What was not measured is said not to have
been. Texts from the data are shown and never read as markup (`plaudit.training.markdown`). The card stands in
``training`` since `RewardTrainer.push_to_hub` writes it (design/005).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from plaudit.training.card_metadata import card_metadata, name_of_source
from plaudit.training.card_recipe import duration, recipe_section, versions_section
from plaudit.training.card_results import results_section, reward_scale
from plaudit.training.card_usage import usage_section
from plaudit.training.data_record import DataRecord, hub_dataset
from plaudit.training.estimates import EvaluatedSet
from plaudit.training.markdown import code_span, html_table, inline, pipe_table
from plaudit.training.metrics_log import MetricsLine
from plaudit.training.model_facts import ModelFacts
from plaudit.training.run_record import RunRecord
from plaudit.training.samples import SampleRow
from plaudit.whole_file import write_whole

__all__ = ["CARD_FILE", "model_card", "write_card"]

CARD_FILE = "README.md"


def model_card(
    record: RunRecord,
    *,
    name: str,
    model_id: str,
    lines: Sequence[MetricsLine] = (),
    evaluations: Sequence[EvaluatedSet] = (),
    samples: Sequence[SampleRow] = (),
    curves: str | None = None,
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
    license: str | None = None,
    language: str | Sequence[str] | None = None,
) -> str:
    """The text of ``README.md``: front matter for the hub, then Markdown.

    Args:
        record: The run, finished or not.
        name: The model's name: the heading, and ``model-index``.
        model_id: What the code in it loads: the hub id, or the folder.
        lines: The run's log lines (`read_metrics`), for the table of evaluations by step.
        evaluations: The results of the saved weights; none: the card says that the model was not evaluated.
        samples: Sample comparisons with their rewards.
        curves: The image's file name, beside the card.
        datasets: Hub ids of training data that the record does not name.
        tags: Beside those that plaudit sets.
        license, language: For the front matter, if known.
    """
    data = card_metadata(
        record,
        name=name,
        evaluations=evaluations,
        datasets=datasets,
        tags=tags,
        license=license,
        language=language,
    )
    settings = record.settings
    parts = [
        f"# {inline(name)}",
        _introduction(record, datasets),
        results_section(record, evaluations, lines),
        f"![Loss, accuracy, reward margin and learning rate by step]({curves})" if curves else "",
        reward_scale(evaluations),
        _attributes(record.model),
        usage_section(record.model, model_id, trust_remote_code=bool(settings.get("trust_remote_code"))),
        _data_section(record),
        recipe_section(record),
        _samples_section(samples),
        _limitations(record, evaluations),
        versions_section(record),
    ]
    return _with_front_matter(data, "\n\n".join(part for part in parts if part))


def write_card(folder: str | Path, text: str) -> Path:
    """Write a card's text as ``README.md`` into a folder, whole or not at all."""
    path = Path(folder) / CARD_FILE
    write_whole(path, text)
    return path


def _with_front_matter(data: ModelCardData, body: str) -> str:
    return f"---\n{data.to_yaml()}\n---\n\n{body}\n"


def _introduction(record: RunRecord, datasets: Sequence[str]) -> str:
    model = record.model
    what = "It gives a conversation one number, its reward, which is higher the better the last answer is."
    start = f"Trained with plaudit{_from(model)}{_on(record.train_data, datasets)}"
    took = f" in {duration(record.wall_time_s)}" if record.wall_time_s else ""
    steps = f", {record.num_steps:,} steps{took}" if record.num_steps else ""
    unfinished = "" if record.ended else " The training had not ended when this card was written."
    return f"A reward model. {what}\n{start}{steps}.{unfinished}"


def _from(model: ModelFacts) -> str:
    if not model.base_model:
        return ""
    if model.base_is_on_hub:
        return f" from [{inline(model.base_model)}](https://huggingface.co/{model.base_model})"
    return f" from the local model {code_span(name_of_source(model.base_model))}"


def _on(data: DataRecord | None, datasets: Sequence[str]) -> str:
    sources = list(dict.fromkeys([*(data.sources if data else ()), *datasets]))
    count = f"{data.num_comparisons:,} comparisons" if data and data.num_comparisons else ""
    of = " of " if count and sources else ""
    text = f"{count}{of}{', '.join(map(_source_link, sources))}"
    return f" on {text}" if text else ""


def _source_link(source: str) -> str:
    found = hub_dataset(source)
    if found is None:
        return code_span(name_of_source(source))
    return f"[{inline(source)}](https://huggingface.co/datasets/{found.id})"


def _attributes(model: ModelFacts) -> str:
    if not model.attributes:
        return ""
    rows = [[inline(name), f"{weight:g}"] for name, weight in model.attributes.items()]
    text = (
        "## Attributes\n\nThe model has one output per rated attribute, in this order. The reward is the sum of the "
        "outputs, each times its weight; the weights are in `config.json` as `reward_weights`."
    )
    return f"{text}\n\n{pipe_table(['Attribute', 'Weight'], rows, right=[1])}"


def _data_section(record: RunRecord) -> str:
    evaluated = {
        "Evaluation" if name == "eval" else f"Evaluation: {name}": data
        for name, data in record.eval_data.items()
    }
    sets = {"Training": record.train_data, **evaluated}
    known = [(name, data) for name, data in sets.items() if data is not None]
    if not known:
        return ""
    rows = [
        [
            inline(name),
            ", ".join(map(_source_link, data.sources)) or "not named",
            _number(data.num_groups),
            _number(data.num_comparisons),
            _number(data.num_tokens),
        ]
        for name, data in known
    ]
    header = ["Data", "Source", "Groups", "Comparisons", "Tokens"]
    parts = ["## Data", pipe_table(header, rows, right=[2, 3, 4])]
    parts += [text for name, data in known for text in _counts(name, data)]
    return "\n\n".join(parts)


def _counts(name: str, data: DataRecord) -> Iterator[str]:
    rows = [
        [inline(count.what), f"{count.number:,}", f"{count.out_of:,}", f"{count.number / count.out_of:.1%}"]
        for count in (*data.lost, *data.noted)
        if count.out_of
    ]
    if rows:
        yield f"What was left out or is worth knowing ({inline(name.lower())} data):"
        yield pipe_table(["What", "Number", "Of", "Share"], rows, right=[1, 2, 3])
    elif data.num_groups is not None:
        yield f"Nothing was dropped or cut ({inline(name.lower())} data)."


def _samples_section(samples: Sequence[SampleRow]) -> str:
    if not samples:
        return ""
    rows = [
        [
            row.prompt_end,
            row.chosen,
            row.rejected,
            f"{row.reward_chosen:.3f}",
            f"{row.reward_rejected:.3f}",
            row.verdict,
        ]
        for row in samples
    ]
    header = ["Prompt (its end)", "Chosen", "Rejected", "Reward, chosen", "Reward, rejected", "Right"]
    about = "The first comparisons of the evaluation data, as rendered; long texts are cut."
    return f"## Samples\n\n{about}\n\n{html_table(header, rows)}"


def _limitations(record: RunRecord, evaluations: Sequence[EvaluatedSet]) -> str:
    items = list(_facts(record, evaluations))
    return "## Limitations\n\n" + "\n".join(f"- {item}" for item in items) if items else ""


def _facts(record: RunRecord, evaluations: Sequence[EvaluatedSet]) -> Iterator[str]:
    """What follows from the numbers, and nothing else."""
    measured = [e for e in evaluations if not math.isnan(e.accuracy.value)]
    if not measured:
        yield "Its accuracy was not measured."
    for evaluated in measured:
        where = "the evaluation data" if evaluated.name == "eval" else code_span(evaluated.name)
        interval = evaluated.accuracy.interval
        width = (interval.high - interval.low) * 100
        known = f"; the 95% interval is {width:.1f} percentage points wide" if not math.isnan(width) else ""
        yield f"The accuracy on {where} rests on {evaluated.accuracy.n:,} comparisons{known}."
    if measured:
        yield "It was measured on the data named above only; on other data it is unknown."
    train = set(record.train_data.sources) if record.train_data else set()
    if train and any(set(evaluated.sources) & train for evaluated in measured):
        yield "Evaluation and training data are from the same source, so the accuracy on other sources may differ."
    yield from _data_facts(record)


def _data_facts(record: RunRecord) -> Iterator[str]:
    data, settings = record.train_data, record.settings
    for count in data.lost if data else ():
        if count.what.startswith("groups dropped: longer") and count.out_of:
            share = f"{count.number:,} of {count.out_of:,} groups ({count.number / count.out_of:.1%})"
            limit = settings.get("max_length")
            than = f" than {limit:,} tokens" if isinstance(limit, int) else ""
            yield f"{share} were longer{than} and were not learnt from."
        if count.what.startswith("prompts cut"):
            yield f"{count.number:,} of {count.out_of:,} prompts were cut from the left to fit."
    if data and data.max_length:
        yield f"The longest conversation it learnt from has {data.max_length:,} tokens."


def _number(value: Any) -> str:
    return "unknown" if value is None else f"{value:,}"
