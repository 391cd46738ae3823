"""Translate raw text with a trained run: the command scripts/translate.sh."""

import io
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recipes import cli
from recipes.data.preparation import Preparation, text_of
from recipes.data.prepared import GPT2, Prepared, read_prepared
from recipes.evaluation import decoding, line_stream
from recipes.evaluation.checkpoint_choice import ModelParser, chosen_checkpoint
from recipes.evaluation.ctranslate2_engine import CTranslate2Engine
from recipes.evaluation.exported import is_export, read_exported
from recipes.evaluation.fairseq_engine import FairseqEngine
from recipes.evaluation.line_stream import STDIN
from recipes.evaluation.translator import Translation, Translator
from recipes.files import progress
from recipes.text.moses import Lines

WINDOW = 1000  # lines that are read before they are sorted by length and translated
CLOSED_PIPE = 128 + signal.SIGPIPE  # the exit status of a program that a closed pipe ends


def a_file(text: str) -> Path:
    """Return the path of a file of text that exists; STDIN for "-"."""
    path = Path(text)
    if text == "-":
        return STDIN
    if not path.exists():
        sys.exit(f"there is no file {text}")
    if path.is_dir():
        sys.exit(f"{text} is a folder, and no text")
    if not os.access(path, os.R_OK):  # to open a pipe for a try would end the program that writes to it
        sys.exit(f"{text} cannot be read")
    return path.absolute()


def translator_of(args: Namespace) -> Translator:
    """Return the translator for the model that the arguments name. Exit if something of it is missing or wrong."""
    if any(is_export(run.path) for run in args.runs):
        return exported_translator(args)
    run = decoding.read_run(*args.runs, of_data=False)
    encode: Lines = list
    if run.plain:
        warn(f"{run.bin.parent} has no settings.json: each line is taken as words of {run.bin}/dict.{run.source}.txt")
    else:
        encode = Preparation(args.run.preparation[0]).encode(run.source)
    how = decoding.decoding_of(run, beam=args.beam, lenpen=args.lenpen)
    check_nbest(args, how)
    with chosen_checkpoint(args) as checkpoint:
        engine = FairseqEngine(run, checkpoint, bool(run.cpu))
    if run.prepared.subwords == GPT2:
        decode = Preparation(args.run.preparation[0]).decode(run.target)
    else:
        decode = joined_text(run.post_process, run.target, run.prepared)
    return Translator(engine, encode, decode, how, args.nbest, note=warn, cuts=run.cuts_source)


def joined_text(kind: str | None, lang: str, prepared: Prepared) -> Lines:
    """Return the function from lines of subwords, of a kind of fairseq's --post-process, to plain text."""
    from fairseq.data.data_utils import post_process

    return lambda lines: text_of([post_process(line, kind) for line in lines], lang, prepared)


def exported_translator(args: Namespace) -> Translator:
    """Return the translator for a folder of scripts/export.sh."""
    if len(args.runs) > 1:
        sys.exit("an exported model translates alone, and not with others as an ensemble")
    if args.average or args.average_best:
        sys.exit(f"{args.run} is an exported model: its checkpoints were averaged when it was exported, if at all")
    facts = read_exported(args.run.path)
    changes = {"beam": args.beam, "lenpen": args.lenpen}
    how = facts.generation | {key: value for key, value in changes.items() if value is not None}
    check_nbest(args, how)
    encode: Lines = list
    if facts.joined:
        decode = joined_text(facts.joined, facts.target, read_prepared(args.run.prepared))
    else:
        preparation = Preparation(args.run.prepared)
        encode, decode = preparation.encode(facts.source), preparation.decode(facts.target)
    return Translator(CTranslate2Engine(args.run.path, facts), encode, decode, how, args.nbest, note=warn)


def check_nbest(args: Namespace, how: dict[str, Any]) -> None:
    """Exit if more translations of a line are asked for than the search keeps."""
    if args.nbest > how["beam"]:
        sys.exit(f"--nbest {args.nbest}: must be at most the beam size, {how['beam']}")


def warn(message: str) -> None:
    """Print "COMMAND: message" on stderr, above a progress bar if there is one."""
    with tqdm.external_write_mode(file=sys.stderr):
        cli.warn(message)


def write(translations: list[list[Translation]], scores: bool) -> None:
    """Print the translations of lines, each on a line."""
    lines = (translation for of_line in translations for translation in of_line)
    sys.stdout.writelines(f"{score:.4f}\t{text}\n" if scores else f"{text}\n" for text, score in lines)
    sys.stdout.flush()


def translate_files(translator: Translator, files: list[Path], scores: bool) -> None:
    """Translate files, or pipes, in windows."""
    hidden = sys.stdout.isatty() or None  # the translations themselves show there how far it is
    with progress("translating", line_stream.count(files), " lines", hidden=hidden) as bar:
        for window in line_stream.windows(files, WINDOW):
            write(translator.translate(window), scores)
            bar.update(len(window))


def ask(prompt: str) -> Iterator[bytes]:
    """Yield the lines that a user types at a prompt, or that come from a pipe."""
    typed = sys.stdin.isatty() and sys.stdout.isatty()
    if typed:
        import readline  # noqa: F401  (lets the user edit the line and go back to earlier ones)
    while True:
        try:
            if typed:
                yield input(prompt).encode("utf-8", "surrogateescape")
                continue
        except EOFError:
            sys.stdout.write("\n")
            return
        sys.stderr.write(prompt)
        sys.stderr.flush()
        line = sys.stdin.buffer.readline()
        if not line:
            return
        yield line


def converse(translator: Translator, scores: bool, prompt: str) -> None:
    """Translate the lines of the standard input, each as soon as it has come."""
    for number, line in enumerate(ask(prompt), start=1):
        try:
            translations = translator.translate([line_stream.line_of(line, number, STDIN)])
        except SystemExit as problem:  # the next line may be right
            warn(str(problem))
            continue
        write(translations, scores)


def main(arguments: Sequence[str]) -> None:
    """Run the command translate.sh."""
    parser = ModelParser(several=True, rest=True)
    parser.add_argument("--interactive", action="store_true")
    parser.add_argument("--nbest", type=cli.positive, default=1)
    parser.add_argument("--scores", action="store_true")
    parser.add_argument("--beam", type=cli.positive)
    parser.add_argument("--lenpen", type=cli.penalty)
    args = parser.parse_args(arguments)
    if args.interactive and args.rest:
        parser.error(f"--interactive reads no file: leave out {args.rest[0]}")
    files = [a_file(name) for name in args.rest] or [STDIN]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        translator = translator_of(args)
        if args.interactive:
            converse(translator, args.scores, "> ")
        else:
            translate_files(translator, files, args.scores)
    except BrokenPipeError:  # nobody reads the translations any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes what is left at its end
        sys.exit(CLOSED_PIPE)
