"""The command that makes an experiment file for one's own data: new."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from admmctl.cli.app import app, note
from admmctl.cli.options import OUTPUT, Json, one_of
from admmctl.errors import UserError
from admmctl.report.output import put, put_json

if TYPE_CHECKING:  # commands load what they need as they run
    from admmctl.experiment.template import Seen, Wish

NO_FILE = "there is no file {} (looked in {})"


@app.command()
def new(
    file: Annotated[
        str | None, typer.Argument(help="Your data, a row per sample: .npy, .csv or .csv.gz.", metavar="FILE")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Where a CSV has its label: first or last column.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", help="A file of labels, whole numbers, where they are apart.")
    ] = None,
    test_file: Annotated[str | None, typer.Option("--test-file", help="A file of test rows.")] = None,
    test_labels: Annotated[str | None, typer.Option("--test-labels", help="The labels of these.")] = None,
    test: Annotated[
        float | None, typer.Option("--test", help="Else, the part of the rows that tests; 0.2.", metavar="PART")
    ] = None,
    counts: Annotated[
        str | None, typer.Option("--counts", help="What counts: accuracy (the default), seconds, or memory.")
    ] = None,
    target: Annotated[
        float | None, typer.Option("--target", help="A test accuracy that is enough, for instance 0.95.")
    ] = None,
    cores: Annotated[int | None, typer.Option("--cores", help="MPI ranks that you will train on; 1.")] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="Your choice: trees, graph-admm, adam or linear.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the experiment; by default that of FILE.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take defaults for what is not given.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an experiment file that is there.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="The experiment file; NAME.yaml by default.", rich_help_panel=OUTPUT),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an experiment file for your own data: it looks at the data, chooses a method, and says why.

    On a terminal it asks for what no option says. The data are read once, as training reads them: what is wrong
    is named with its place. The file is checked as train --dry-run does, has a comment beside every choice, and
    a rival and a linear model beside the method. An experiment file that is there is kept.

    Examples:

      admmctl new

      admmctl new flowers.csv --label last

      admmctl new X.npy --labels y.npy --counts seconds --target 0.95 --cores 2
    """
    from admmctl.experiment.advice import COUNTS
    from admmctl.experiment.template import Wish
    from admmctl.launch.options import check_options
    from admmctl.report.text import count
    from admmctl.runs.new import check_free, look, make, write

    ask = not yes and not as_json and sys.stdin.isatty() and sys.stderr.isatty()
    if file is None and not ask:
        raise UserError("name your data file: admmctl new FILE; without a terminal nothing is asked")
    if file is not None and not Path(file).expanduser().is_file():
        raise UserError(NO_FILE.format(file, Path.cwd()))
    what = one_of("--counts", counts or "accuracy", COUNTS)
    wish = Wish(
        file or "",
        labels,
        label,
        test_file,
        test_labels,
        test,
        what,
        1 if cores is None else cores,
        target,
        method,
        name,
    )

    def place(wish: Wish) -> Path:
        found = output or Path(f"{wish.experiment()}.yaml")
        check_free(found, force)
        return found

    wish = asked_file(wish) if ask else wish
    place(wish)  # before anything that takes long, and so are the cores
    options = None if cores is None else check_options(cores)
    wish, seen = asked(wish, counts is None, cores is None) if ask else (wish, look(wish))
    content, made = make(wish, seen, options or check_options(wish.cores))
    made = write(content, made, place(wish), force, wish)
    if as_json:
        put_json(made)
        return
    for line in made.notes:
        note(line)
    many = f"{seen.rows_train:,} training rows, {seen.rows_test:,} test rows, {count(seen.features, 'feature')}"
    why = f": {made.why}" if made.why else ""
    put(
        f"{many}, {len(seen.classes)} classes",
        f"method {made.method}, for {made.when}{why}",
        f"wrote {made.file}",
    )
    put("", "go on with:", *(f"  {line}" for line in made.next))


def asked_file(wish: "Wish") -> "Wish":
    """With the name of a file that is there, which is asked for where there is none."""
    while not wish.x:
        told = answer("Your data file (.npy, .csv or .csv.gz)")
        if Path(told).expanduser().is_file():
            wish = replace(wish, x=told)
        else:
            note(NO_FILE.format(told, Path.cwd()))
    return wish


def asked(wish: "Wish", ask_counts: bool, ask_cores: bool) -> "tuple[Wish, Seen]":
    """What a person at the terminal says of what no option said; the data are looked at on the way."""
    from admmctl.experiment.advice import COUNTS
    from admmctl.report.text import count
    from admmctl.runs.new import look

    seen: Seen | None = None
    given = wish
    while seen is None:
        if wish.y is None and wish.label is None:
            question = "Where are the labels: first or last column, or a file of them"
            told = answer(question, "last" if wish.x.endswith((".csv", ".csv.gz")) else None)
            wish = replace(wish, label=told) if told in ("first", "last") else replace(wish, y=told)
        if wish.x_test is None and wish.test is None:
            told = answer("Test rows: a part of these rows, or a file of others", "0.2")
            wish = replace(wish, test=part_of(told)) if part_of(told) is not None else replace(wish, x_test=told)
        if wish.x_test is not None and wish.y_test is None and wish.label is None:
            wish = replace(wish, y_test=answer("The labels of these test rows, a file"))
        try:
            seen = look(wish)
        except UserError as problem:
            if wish == given:
                raise  # nothing was asked: no other answer would help
            note(f"{problem}\n")  # and the questions once more
            wish = given
    features = count(seen.features, "feature")
    note(f"{seen.rows_train:,} training rows, {features}, {len(seen.classes)} classes, nothing missing")
    if ask_counts:
        wish = replace(wish, counts=one_of("what counts:", chosen("What counts", COUNTS), COUNTS))
    if ask_cores:
        wish = replace(wish, cores=whole("Cores to train on", "1"))
    return wish, seen


def answer(question: str, default: str | None = None) -> str:
    """What is typed; Enter takes the default. A question without a default is asked until something is typed."""
    return str(typer.prompt(question, default=default, err=True)).strip()


def chosen(question: str, choices: tuple[str, ...]) -> str:
    """One of these; the first by default. It is asked until it is one of them."""
    return _until(f"{question}: {', '.join(choices)}", choices[0], lambda told: told if told in choices else None)


def whole(question: str, default: str) -> int:
    """A number of 1 or more."""
    return int(_until(question, default, lambda told: told if told.isdecimal() and int(told) > 0 else None))


def _until(question: str, default: str, right: Callable[[str], Any]) -> str:
    while (found := right(answer(question, default))) is None:
        note("please answer once more")
    return str(found)


def part_of(text: str) -> float | None:
    """A number; None for what is none, and so the name of a file."""
    try:
        return float(text)
    except ValueError:
        return None
