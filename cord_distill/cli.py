"""The command line. Every command imports what it needs when it runs, so that `cord --help` is instant."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cord_distill.common.other_tools import foreign_words
from cord_distill.common.paths import short_path
from cord_distill.common.verbosity import set_verbosity

if TYPE_CHECKING:
    from cord_distill.recipe.experiment import Experiment

# Disk full, quota, a disk that fails, a read-only one: nobody's mistake in the recipe, and no traceback's business.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
EPILOG = """\
RECIPE is a file or the name of a bundled recipe; key.sub=value after it overrides a key, variant=NAME picks a variant.

  cord check quickstart                                   what would run, and whether everything is there
  cord run quickstart                                     all of it, each stage once
  cord generate my.yaml problems.limit=8                  a first look at the decoding
  accelerate launch train.py recipes/r1_qwen_14b.yaml     training alone, under any accelerate config
"""


# What a command does with its arguments; gives the exit code, None = 0.
Command = Callable[[argparse.Namespace], "int | None"]
RECIPE = "a file, or the name of a bundled recipe (cord recipes lists them)"
OVERRIDES = "an override, such as decode.beam_size=8; variant=NAME picks a variant"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code (common/exit_codes.py)."""
    parser = _parser()
    said = foreign_words(sys.argv[1:] if argv is None else argv)
    if said:
        print(f"error: {said}", file=sys.stderr)
        return 2
    if "_ARGCOMPLETE" in os.environ:  # the Tab key
        import argcomplete

        argcomplete.autocomplete(parser)
    # argparse ends a list of positionals at the first option; overrides may stand on both sides of one.
    arguments, rest = parser.parse_known_args(argv)
    set_verbosity(arguments.verbose, arguments.quiet)
    if rest and (not hasattr(arguments, "overrides") or any(item.startswith("-") or "=" not in item for item in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.overrides = [*arguments.overrides, *rest]
    from cord_distill.common.die_with_parent import die_with_parent
    from cord_distill.common.errors import CordError
    from cord_distill.common.exit_codes import of_signal
    from cord_distill.common.signals import answered_at_once, ended_like_ctrl_c
    from cord_distill.common.terminal import one_line, warn

    die_with_parent()
    if arguments.command in LOADING:
        from cord_distill.common.quiet import prepare_environment

        prepare_environment()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal of another encoding shows \\u2026 and no traceback
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        os.getcwd()
    except FileNotFoundError:
        warn("error: the working directory is not there any more; change to one that is")
        return CordError.exit_code
    with ended_like_ctrl_c() as ended_by, answered_at_once():
        try:
            return arguments.command(arguments) or 0
        except CordError as error:
            warn(f"error: {error}")
            return error.exit_code
        except BrokenPipeError:  # `cord recipes | head`: who read has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            from cord_distill.run.stopped import stopped_text

            print("\n" + stopped_text(arguments, sys.argv[1:] if argv is None else argv), file=sys.stderr, flush=True)
            return of_signal(ended_by.number)
        except OSError as error:
            where = one_line(error.filename or "the disk", 200)
            if error.errno in NO_ROOM:
                said = "what was finished is kept: make room, run the same command again"
            elif error.filename is not None and error.strerror:
                said = "what was finished is kept: mend that file or folder, run the same command again"
            else:
                raise
            warn(f"error: {where}: {error.strerror}; {said}")
            return CordError.exit_code


def _parser() -> argparse.ArgumentParser:
    from cord_distill import __version__

    parser = argparse.ArgumentParser(
        prog="cord",
        description="Distil long chain-of-thought reasoning from several teachers into one student.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cord-distill {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def recipe_command(name: str, function: Command, text: str) -> argparse.ArgumentParser:
        sub = _add_command(commands, name, function, text)
        _add_recipe(sub, help=RECIPE)
        return sub

    check = recipe_command("check", _check, "show the resolved recipe, what would run, what is missing, what it needs")
    check.add_argument("--gpus", type=int, metavar="N", help="predict the memory of training on N GPUs")
    check.add_argument("--gpu-memory", type=float, metavar="GIB", help="of one GPU: refuse what cannot fit")
    check.add_argument("--host-memory", type=float, metavar="GIB", help="of one host: refuse what cannot fit")
    check.add_argument("--gpus-per-node", type=int, metavar="N", default=8, help="for host memory (default 8)")
    check.add_argument("--tokens-per-second", type=float, metavar="N", help="of all engines: hours of decoding")
    check.add_argument("--gpu-hour-price", type=float, metavar="X", help="of one GPU: what decoding may cost")
    check.add_argument("--json", action="store_true", help="one JSON object in place of the page")
    status = recipe_command("status", _status, "how far a run is, from another shell (RECIPE or its run folder)")
    status.add_argument("--json", action="store_true", help="one JSON object in place of the lines")
    recipe_command("show", _show, "print the prompts, the scored text and the first training row, word for word")
    run = recipe_command(
        "run", _run, "run every stage that is not done: models, generate, data, train, evaluate, report"
    )
    run.add_argument("--overwrite", action="store_true", help="set a changed recipe's old decoding aside")
    recipe_command("models", _models, "build the models that the recipe builds itself")
    problems = recipe_command("problems", _problems, "find the problems that are hard for a small model (hard_for)")
    problems.add_argument("--overwrite", action="store_true", help="set the tries of changed settings aside")
    generate = recipe_command("generate", _generate, "decode trajectories")
    generate.add_argument("--overwrite", action="store_true", help="set a changed recipe's old results aside")
    generate.add_argument("--only", metavar="ID", action="append", default=[], help="only this problem (repeatable)")
    generate.add_argument("--limit", metavar="N", type=int, help="only the first N problems; the next call goes on")
    text = "decode although later stages could not run here (their model or data is on another machine)"
    generate.add_argument("--no-check", action="store_true", help=text)
    recipe_command("data", _data, "turn trajectories into the training set")
    recipe_command("train", _train, "fine-tune the student (accelerate launch train.py RECIPE)")
    export = recipe_command("export", _export, "write the trained student as one folder, a LoRA adapter merged")
    export.add_argument("--to", metavar="FOLDER", required=True, help="a new or empty folder")
    export.add_argument("--step", type=int, metavar="N", help="checkpoint-N in place of the finished model")
    _add_evaluation(commands)
    recipe_command("report", _report, "write summary, report and model cards from what is there")
    audit = recipe_command("audit", _audit, "measure what each step of the traces does for the answer (meta-prover)")
    audit.add_argument("--limit", metavar="N", type=int, help="only the first N traces of each method")
    view = recipe_command("view", _view, "write a page with every problem of a run: beam trees, traces, score curves")
    view.add_argument("--output", metavar="FILE", help="default: view.html in the run folder")
    view.add_argument("--text", metavar="N", type=int, help="characters of a candidate off the chosen trace (0: all)")
    view.add_argument("--open", action="store_true", help="open it in a browser")
    ablate = recipe_command("ablate", _ablate, "run a list of variants over several seeds; print the ablation tables")
    ablate.add_argument("--variant", metavar="NAME", action="append", default=[], help="run this one; may be repeated")
    ablate.add_argument("--students", action="store_true", help="train and evaluate a student on each, too")
    ablate.add_argument("--tables", action="store_true", help="run nothing: the tables from what is there")
    text = "compare predictions with gold answers, or grade an evaluation's stored samples anew"
    grade = _add_command(commands, "grade", _grade, text, _grade.__doc__)
    grade.add_argument("file", metavar="FILE.jsonl|RUN")
    grade.add_argument(
        "--json", metavar="FILE", help="write one object per row (`id`, `accepted`), or per changed verdict"
    )
    grade.add_argument("--task", metavar="FILE", action="append", default=[], help="the task file of a suite of yours")
    _add_beginnings(commands)
    for one in commands.choices.values():
        one.add_argument("-v", "--verbose", action="count", default=0, help="what vLLM and the others say; -vv: all")
        one.add_argument("-q", "--quiet", action="store_true", help="no progress: results, warnings and errors alone")
    return parser


def _add_command(
    commands: Any, name: str, function: Command, text: str, description: str | None = None
) -> argparse.ArgumentParser:
    sub: argparse.ArgumentParser = commands.add_parser(
        name, help=text.replace("%", "%%"), description=description or text
    )
    sub.set_defaults(command=function)
    return sub


def _add_recipe(sub: argparse.ArgumentParser, **options: Any) -> None:
    """The two positionals of most commands, which the Tab key knows."""
    _completed(sub.add_argument("recipe", metavar="RECIPE", **options), "recipe_names")
    overrides = sub.add_argument("overrides", metavar="key=value", nargs="*", default=[], help=OVERRIDES)
    _completed(overrides, "override_keys")


def _completed(argument: argparse.Action, function: str) -> None:
    """Tells the Tab key which function of recipe/completion.py knows what may stand there; it is loaded then."""

    def offered(**context):
        from cord_distill.recipe import completion

        return getattr(completion, function)(**context)

    argument.completer = offered  # type: ignore[attr-defined]


def _add_beginnings(commands: Any) -> None:
    """What stands before a run: a recipe of one's own, the bundled ones, the editor's schema, the machine."""
    text = "write a recipe for your questions, models and GPUs; asks for what the flags leave out"
    init = _add_command(commands, "init", _init, text)
    init.add_argument("file", metavar="FILE.yaml", help="the recipe to write")
    init.add_argument("--questions", metavar="FILE", help="JSONL, CSV or Parquet with known answers, or a hub data set")
    init.add_argument("--teachers", metavar="MODEL", nargs="+", default=[], help="hub ids or folders")
    init.add_argument("--meta-prover", metavar="MODEL", help="one of the teachers, or another (default: the first)")
    init.add_argument("--student", metavar="MODEL", help="hub id or folder")
    init.add_argument("--gpus", metavar="N", type=int, default=0, help="of this node (default 0: the CPU)")
    init.add_argument("--suite", metavar="NAME", action="append", default=[], help="measured on (default math_500)")
    recipes = _add_command(commands, "recipes", _recipes, "list the bundled recipes, or copy one to change it")
    recipes.add_argument("name", metavar="NAME", nargs="?", help="the one to copy")
    recipes.add_argument("--copy", metavar="FILE.yaml", help="where to (default: NAME.yaml here)")
    _add_command(commands, "schema", _schema, "the recipe's JSON Schema, for editors that complete and check YAML")
    text = 'print what a shell needs to complete commands, recipes and keys: eval "$(cord completion bash)"'
    completion = _add_command(commands, "completion", _completion, text)
    completion.add_argument("shell", choices=["bash", "zsh", "fish"])
    _add_command(commands, "env", _env, "versions, GPUs and settings, for a bug report")


def _add_evaluation(commands: Any) -> None:
    text = "run the evaluation suites on the recipe's models, or on one --model without a recipe"
    evaluate = _add_command(commands, "evaluate", _evaluate, text)
    _add_recipe(evaluate, nargs="?", help="not needed with --model")
    evaluate.add_argument("--model", metavar="PATH", help="a folder or hub id, instead of the recipe's models")
    evaluate.add_argument("--name", metavar="LABEL", help="what the tables call --model (default: its folder's name)")
    evaluate.add_argument("--suite", metavar="NAME", action="append", default=[], help="a suite, or a group like math")
    evaluate.add_argument("--data", metavar="SUITE=FILE", action="append", default=[], help="a local JSONL file")
    evaluate.add_argument("--samples", metavar="N", help="samples per problem (default 16)")
    evaluate.add_argument("--limit", metavar="N", help="only the first N problems of each suite")
    evaluate.add_argument("--output", metavar="DIR", help="where eval/LABEL is written (default outputs/evaluations)")
    evaluate.add_argument("--calibrate", action="store_true", help="hold the figures against evaluate.published")
    evaluate.add_argument("--watch", action="store_true", help="each checkpoint of the training as soon as it is there")
    text = "the paired difference of two evaluated checkpoints (eval/LABEL folders)"
    compare = _add_command(commands, "compare", _compare, text)
    compare.add_argument("a", metavar="A")
    compare.add_argument("b", metavar="B")
    compare.add_argument("--json", action="store_true", help="one JSON object in place of the lines")


def _experiment(arguments: argparse.Namespace) -> Experiment:
    from cord_distill.recipe.experiment import Experiment

    return Experiment.load(arguments.recipe, arguments.overrides)


def _refuse_below(least: float, arguments: argparse.Namespace, *flags: str) -> None:
    """Raises CordError at the first of `flags` that was given a smaller number."""
    from cord_distill.common.errors import CordError

    for flag in flags:
        given = getattr(arguments, flag)
        if given is not None and not given >= least:
            said = f"a number from {least:g} on" if least in (0, 1) else "a number above 0"
            raise CordError(f"--{flag.replace('_', '-')} {given:g}: give {said}")


def _check(arguments: argparse.Namespace) -> int:
    from cord_distill.run.check import check
    from cord_distill.run.machine import Machine
    from cord_distill.training.launch import gpu_count

    _refuse_below(1, arguments, "gpus", "gpus_per_node")
    _refuse_below(1e-9, arguments, "gpu_memory", "host_memory", "tokens_per_second")
    _refuse_below(0, arguments, "gpu_hour_price")
    asked = arguments.gpus or arguments.gpu_memory or arguments.host_memory or arguments.tokens_per_second
    gpus = arguments.gpus or gpu_count() or 1
    sizes = (arguments.gpu_memory, arguments.host_memory, arguments.gpus_per_node)
    machine = Machine(gpus, *sizes, arguments.tokens_per_second, arguments.gpu_hour_price) if asked else None
    return check(_experiment(arguments), machine, as_json=arguments.json)


def _status(arguments: argparse.Namespace) -> None:
    from cord_distill.run.status import status

    found = status(arguments.recipe, arguments.overrides)
    print(found.as_json() if arguments.json else "\n".join(found.lines()))


def _init(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from cord_distill.run.init import Wishes, asked, write_recipe

    _refuse_below(0, arguments, "gpus")
    questions, teachers, student = asked(arguments.questions, arguments.teachers, arguments.student)
    suites = arguments.suite or ["math_500"]
    write_recipe(
        Path(arguments.file), Wishes(questions, teachers, student, arguments.gpus, arguments.meta_prover, suites)
    )
    print(f"recipe   {arguments.file}; look at it, then: cord check {arguments.file}")


def _recipes(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from cord_distill.run.init import bundled_recipes, copy_recipe

    if arguments.name is None:
        print("\n".join(bundled_recipes()))
        return
    to = Path(arguments.copy or f"{Path(arguments.name).stem}.yaml")
    copy_recipe(arguments.name, to)
    print(f"recipe   {to}; change it, then: cord check {to}")


def _schema(arguments: argparse.Namespace) -> None:
    import json

    from cord_distill.recipe.schema import recipe_schema

    print(json.dumps(recipe_schema(), indent=1, ensure_ascii=False))


def _completion(arguments: argparse.Namespace) -> None:
    import argcomplete

    print(argcomplete.shellcode(["cord"], shell=arguments.shell))


def _env(arguments: argparse.Namespace) -> None:
    from cord_distill.run.env import env_lines

    print("\n".join(env_lines()))


def _show(arguments: argparse.Namespace) -> None:
    from cord_distill.run.show import show

    print("\n\n".join(map(str, show(_experiment(arguments)))))


def _run(arguments: argparse.Namespace) -> None:
    from cord_distill.report.finish import closing_lines
    from cord_distill.run.run import run

    experiment = _experiment(arguments)
    print(closing_lines(experiment, run(experiment, arguments.overwrite)))


def _models(arguments: argparse.Namespace) -> None:
    from cord_distill.model_files.build import build_models

    folder = build_models(_experiment(arguments).recipe)
    print(f"models   {short_path(folder)}" if folder else "this recipe builds no models")


def _problems(arguments: argparse.Namespace) -> int:
    from cord_distill.common.terminal import warn
    from cord_distill.decode.failures import Failures
    from cord_distill.decode.try_problems import counts_line, filter_problems
    from cord_distill.run_folder.paths import RunFolder

    recipe = _experiment(arguments).recipe
    counts = filter_problems(recipe, overwrite=arguments.overwrite)
    print(f"problems  {short_path(RunFolder.of(recipe).hard_problems)}: {counts_line(counts)}")
    failures = Failures(counts["dropped"].get("failed", 0), counts["candidates"], counts["failed_with"])
    if failures.failed:
        warn(failures.line("problems"))
    return failures.exit_code(recipe.decode.max_failed_share)


def _generate(arguments: argparse.Namespace) -> int:
    from cord_distill.common.exit_codes import FINE
    from cord_distill.common.terminal import warn
    from cord_distill.decode.failures import failures_of
    from cord_distill.decode.generate import generate
    from cord_distill.decode.problems import Readings
    from cord_distill.decode.subset import Subset
    from cord_distill.run.first_pass import refuse
    from cord_distill.run.run import record_stage, started_by_run
    from cord_distill.run_folder.paths import RunFolder
    from cord_distill.view.wandb_panels import decoding_run

    _refuse_below(1, arguments, "limit")
    part = Subset(tuple(arguments.only), arguments.limit)
    experiment, begun = _experiment(arguments), time.monotonic()
    recipes, read = experiment.variants, Readings()
    if not arguments.no_check:
        refuse(recipes, read=read)
    # The next stage of `cord run` reads what every process decodes.
    wait = started_by_run()
    decoded = generate(
        recipes,
        overwrite=arguments.overwrite,
        part=part,
        wait=wait,
        watch=decoding_run,
        read=read,
        siblings=experiment.methods,
    )
    if decoded.held:
        said = "1 problem is" if decoded.held == 1 else f"{decoded.held} problems are"
        print(f"{said} being decoded by other processes; the last of them to end writes trajectories.jsonl", flush=True)
        return FINE
    code = FINE
    if not part.only and part.limit is None:
        record_stage(experiment, "generate", time.monotonic() - begun)
    for made in recipes:
        run = RunFolder.of(made)
        print(f"trajectories  {short_path(run.trajectories)}", flush=True)
        failures = failures_of(run.trajectories)
        if failures.failed:
            warn(failures.line(f"decode {run.method}"))
        code = max(code, failures.exit_code(made.decode.max_failed_share))
    return code


def _data(arguments: argparse.Namespace) -> None:
    from cord_distill.run.make_data import kept_and_dropped, make_data
    from cord_distill.run.run import record_stage
    from cord_distill.run_folder.paths import RunFolder

    experiment, begun = _experiment(arguments), time.monotonic()
    for made in experiment.variants:
        counts = make_data(made)
        print(f"data set  {short_path(RunFolder.of(made).dataset)}: {kept_and_dropped(counts)}")
    record_stage(experiment, "data", time.monotonic() - begun)


def _train(arguments: argparse.Namespace) -> int:
    import subprocess

    from cord_distill.recipe.experiment import variant_overrides
    from cord_distill.run.make_data import data_before_training
    from cord_distill.run.run import children_stopped, record_stage
    from cord_distill.training.launch import training_command

    experiment, begun = _experiment(arguments), time.monotonic()
    data_before_training(experiment.recipe)
    for one in experiment.recipe.seed_runs():
        overrides = [*arguments.overrides, *variant_overrides(one)]
        argv, environment = training_command(experiment.path, one, overrides)
        children: list[subprocess.Popen[bytes]] = []
        with children_stopped(children):
            children.append(subprocess.Popen(argv, env=environment))
            code = children[0].wait()
        if code:
            return code
    record_stage(experiment, experiment.recipe.stage, time.monotonic() - begun)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from cord_distill.evaluation.command import evaluate_command

    begun = time.monotonic()
    code = evaluate_command(arguments)
    of_the_recipe = arguments.recipe and not (arguments.model or arguments.suite or arguments.data or arguments.watch)
    if of_the_recipe and not (arguments.samples or arguments.limit or arguments.output) and not code:
        from cord_distill.run.run import record_stage

        record_stage(_experiment(arguments), "evaluate", time.monotonic() - begun)
    return code


def _compare(arguments: argparse.Namespace) -> None:
    from cord_distill.common.terminal import plain
    from cord_distill.evaluation.comparison import compare, comparison_lines

    if arguments.json:
        import json

        print(json.dumps(compare(arguments.a, arguments.b), indent=1))
        return
    print(plain("\n".join(comparison_lines(arguments.a, arguments.b))))


def _export(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from cord_distill.training.export import export

    recipe = _experiment(arguments).recipe
    folder = export(recipe, Path(arguments.to), arguments.step)
    if arguments.step is not None:
        from cord_distill.report.model_card import write_checkpoint_card
        from cord_distill.training.plan import one_seed

        write_checkpoint_card(one_seed(recipe), folder, arguments.step)
    print(f"model    {short_path(folder)}")


def _report(arguments: argparse.Namespace) -> None:
    from cord_distill.report.finish import closing_lines, finish, refuse_nothing

    experiment = _experiment(arguments)
    refuse_nothing(experiment)
    print(closing_lines(experiment, finish(experiment)))


def _audit(arguments: argparse.Namespace) -> None:
    from cord_distill.audit.audit import audit
    from cord_distill.audit.figures import effects_table

    _refuse_below(1, arguments, "limit")
    recipes = _experiment(arguments).variants
    print(effects_table(audit(recipes, arguments.limit)))


def _view(arguments: argparse.Namespace) -> None:
    import webbrowser

    from cord_distill.common.errors import CordError
    from cord_distill.view.gather import find_run
    from cord_distill.view.page import write_view

    if arguments.text is not None and arguments.text < 0:
        raise CordError(f"--text {arguments.text}: give a number of characters, 0 for all")
    path = write_view(find_run(arguments.recipe, arguments.overrides), arguments.output, arguments.text)
    print(f"view     {short_path(path)}, {path.stat().st_size / 1e6:.1f} MB", flush=True)
    if arguments.open and not webbrowser.open(path.as_uri()):
        print(f"no browser could be started: open {path.as_uri()}")


def _ablate(arguments: argparse.Namespace) -> int:
    from cord_distill.ablation.ablate import ablate, failures_in, list_of_variants, load_ablation
    from cord_distill.ablation.tables import terminal
    from cord_distill.common.exit_codes import FINE
    from cord_distill.common.terminal import warn

    arguments.recipe = list_of_variants(arguments.recipe)  # Ctrl-C names this recipe's folder too
    made = ablate(
        arguments.recipe, arguments.overrides, arguments.variant, arguments.students, run=not arguments.tables
    )
    ablation = load_ablation(arguments.recipe, arguments.overrides)
    print(terminal(made))
    for name, file in (("tables", "ablations.md"), ("figures", "ablations.json")):
        print(f"{name:<8} {short_path(ablation.root / file)}", flush=True)
    code = FINE
    for label, failures, max_share in failures_in(ablation, arguments.variant):
        warn(failures.line(label))
        code = max(code, failures.exit_code(max_share))
    return FINE if arguments.tables else code


def _grade(arguments: argparse.Namespace) -> None:
    """Compares the columns `gold` and `prediction` of a JSONL file; prints the agreement with `equal` where given. Of a
    folder (a run, its eval/, an eval/<label>) the stored samples are graded anew, and what changed is printed."""
    if os.path.isdir(arguments.file):
        from cord_distill.evaluation.rescore import rescore

        rescore(arguments.file, arguments.task, arguments.json)
        return
    from cord_distill.grading import grade_file

    grade_file(arguments.file, arguments.json)


# Commands that load models or tokenizers: the environment is prepared before any of the libraries is imported.
LOADING = (_show, _models, _problems, _generate, _evaluate, _audit, _ablate)


if __name__ == "__main__":
    sys.exit(main())
