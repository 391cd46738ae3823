"""The README.md of an exported model: the lines of Python that translate raw text with it."""

from pathlib import Path
from textwrap import indent

from recipes.data.preparation import rules_of
from recipes.data.prepared import Prepared, read_prepared
from recipes.evaluation.exported import Exported
from recipes.text.segment import base, spaces

README = """# {source}-{target}, for CTranslate2

This is a Transformer that fairseq trained: the checkpoint "{checkpoint[checkpoint]}", after
{checkpoint[updates]:,} updates. Its weights are stored as {quantization}. {checked}

    pip install {packages}

These lines translate {text} from the standard input. They are run in this folder.

{code}
`scripts/translate.sh` of rdrop_fairseq takes this folder in place of a run. It splits text into tokens exactly as the
training did, while the packages above differ from that in a few lines. It splits a line of more than {positions:,}
subwords into parts, while the lines above leave out what follows them.

| file | holds |
|---|---|
| `model.bin`, `config.json`, `*vocabulary.json` | the model, as CTranslate2 reads it |
| `prepared/` | how text becomes subwords |
| `export.json` | what the model was made of, and how it decodes |
"""

# What makes text of a list of words, in Python.
BPE = '(" ".join(words) + " ").replace("@@ ", "").strip()'
PIECES = '"".join(words).replace("\\u2581", " ").strip()'


class Program:
    """A program that translates, as it grows: the packages it needs, its imports, and the lines of its parts."""

    def __init__(self) -> None:
        self.packages, self.imports, self.loaded = (
            ["ctranslate2"],
            ["import ctranslate2", "import itertools"],
            list[str](),
        )
        self.subwords, self.text = list[str](), list[str]()  # the bodies of two functions

    def use(self, package: str, imported: str, loaded: str) -> None:
        """Import something of a package, and make an object of it."""
        self.packages.append(package)
        self.imports.append(imported)
        self.loaded.append(loaded)

    def write(self, options: list[str]) -> str:
        """Return the lines of the program. The options are those of translate_batch."""
        body = [
            *sorted(self.imports, key=lambda line: (line.startswith("from"), line)),
            "",
            *self.loaded,
            'translator = ctranslate2.Translator(".")',
            "",
            "def subwords(line):",
            *(f"    {line}" for line in self.subwords),
            "",
            "def text(words):",
            *(f"    {line}" for line in self.text),
            "",
            "def translate(lines):",
            "    sources = [subwords(line) for line in lines]",
            f"    options = dict({', '.join(options)})",
            '    options |= {"max_batch_size": 4096, "batch_type": "tokens"}',
            "    return [text(found.hypotheses[0]) for found in translator.translate_batch(sources, **options)]",
            "",
            'lines = (line.rstrip("\\r\\n") for line in open(0, encoding="utf-8-sig", newline="\\n"))',
            "while window := list(itertools.islice(lines, 1000)):",
            '    print(*translate(window), sep="\\n", flush=True)',
        ]
        return "\n".join(body) + "\n"


def _add_tokens(program: Program, prepared: Prepared, source: str) -> None:
    """Add what makes tokens of a line."""
    rules = rules_of(prepared)
    if rules.normalize:
        made = f'normalizer = sacremoses.MosesPunctNormalizer("{source}")'
        program.use("sacremoses", "import sacremoses", made)
        program.subwords.append("line = normalizer.normalize(line)")
    if base(source) == "zh":
        program.use("jieba", "import jieba", "jieba.setLogLevel(30)")
        program.subwords.append('line = " ".join(" ".join(jieba.cut(line)).split())')
    elif base(source) == "ja":
        program.use(
            "ipadic mecab-python3", "import ipadic, MeCab", 'mecab = MeCab.Tagger(ipadic.MECAB_ARGS + " -Owakati")'
        )
        program.subwords.append("line = mecab.parse(line).strip()")
    else:
        program.use("sacremoses", "import sacremoses", f'tokenizer = sacremoses.MosesTokenizer("{source}")')
        options = f"aggressive_dash_splits={rules.aggressive}, escape={rules.escape}, return_str=True"
        program.subwords.append(f"line = tokenizer.tokenize(line, {options})")


def program_of(prepared: Prepared, facts: Exported) -> Program:
    """Return the program for a preparation, without its last part."""
    program = Program()
    if facts.joined:
        joined = {"subword_nmt": BPE, "sentencepiece": PIECES}.get(facts.joined, '" ".join(words)')
        program.subwords.append("return line.split()")
        program.text.append(f"return {joined}")
        return program
    if not (prepared.pieces or prepared.tokenized):
        _add_tokens(program, prepared, facts.source)
    if prepared.lowercase:
        program.subwords.append("line = line.lower()")
    if prepared.pieces:
        made = 'pieces = sentencepiece.SentencePieceProcessor(model_file="prepared/bpe/sentencepiece.model")'
        program.use("sentencepiece", "import sentencepiece", made)
        program.subwords.append("return pieces.encode(line, out_type=str)")
        program.text.append(f"line = {PIECES}")
    else:
        made = 'bpe = BPE(open("prepared/bpe/CODES", encoding="utf-8"))'
        program.use("subword-nmt", "from subword_nmt.apply_bpe import BPE", made)
        program.subwords.append("return bpe.process_line(line).split()")
        program.text.append(f"line = {BPE}")
    if not prepared.pieces or prepared.tokenized:
        made = f'detokenizer = sacremoses.MosesDetokenizer("{facts.target}")'
        program.use("sacremoses", "import sacremoses", made)
        program.text.append(f"line = detokenizer.detokenize(line.split(), unescape={prepared.escaped})")
        if between := spaces(facts.target):
            program.imports.append("import re")
            program.loaded.append(f"space = re.compile({between.pattern!a})")
            program.text.append('line = space.sub("", line)')
    program.text.append("return line")
    return program


def write(out: Path, facts: Exported) -> None:
    """Write the README.md of an exported model, whose folder holds everything else."""
    program = program_of(read_prepared(out / "prepared"), facts)
    how, most = facts.generation, facts.positions[1] - 1
    longest = f"min({how.get('max_len_b', 200)}, {most})"
    if how.get("max_len_a"):
        longest = f"min(int({how['max_len_a']} * (max(map(len, sources)) + 1) + {how.get('max_len_b', 200)}), {most})"
    options = [f"beam_size={how['beam']}", f"length_penalty={0 if how.get('unnormalized') else how['lenpen']}"]
    options += [f"max_decoding_length={longest}", f"max_input_length={facts.positions[0] - 1}"]
    if how.get("no_repeat_ngram_size"):
        options.append(f"no_repeat_ngram_size={how['no_repeat_ngram_size']}")
    codes = next((name for name in ("codes", f"codes.{facts.source}") if (out / "prepared/bpe" / name).is_file()), "")
    program.imports = list(dict.fromkeys(program.imports))
    checked = "It was not compared with what fairseq translates."
    if facts.check:
        checked = f"{facts.check['equal']} of {facts.check['lines']} lines came out as with fairseq."
    text = README.format(
        source=facts.source,
        text="tokens or subwords, as the training's data has them," if facts.joined else "raw text",
        target=facts.target,
        checkpoint=facts.checkpoint,
        quantization=facts.quantization,
        checked=checked,
        positions=facts.positions[0] - 1,
        packages=" ".join(dict.fromkeys(program.packages)),
        code=indent(program.write(options).replace("CODES", codes), "    "),
    )
    (out / "README.md").write_text(text, encoding="utf-8")
