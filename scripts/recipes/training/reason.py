"""Find out from what a Python program printed why it failed, in one line."""

import re

LONGEST = 500  # characters
MOST_LINES = 4  # of a message
RANK = re.compile(r"\[rank\d+\]: ?")  # PyTorch writes it before the traceback of one of several processes
LOGGED = re.compile(r"\[?\d{4}-\d\d-\d\d|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):|\{")
TRACEBACK = "Traceback (most recent call last):"
# A line that says why begins so: it is a script's own, argparse's, or the last line of a traceback.
MESSAGE = re.compile(r"(?:[\w.-]+: )?error: |[\w.]*(?:Error|Exception)(?:: |$)")
# hydra prints these lines around the reason why it refuses a config.
HYDRA_ENDS = "Set the environment variable HYDRA_FULL_ERROR"
HYDRA_BEGINS = re.compile("Error merging '.*' with schema$")


class Reason:
    """Read what a program prints, line by line. Its text, `str(reason)`, is the last reason for an end, or empty."""

    def __init__(self) -> None:
        self.message: list[str] = []
        self.plain: list[str] = []  # lines since the last one that was logged
        self.within = ""  # "traceback" or "message" if the next line may belong to one

    def read(self, line: str) -> None:
        """Take the next line."""
        line = RANK.sub("", line.rstrip(), count=1)
        text = line.strip()
        if text == TRACEBACK:
            self.within = "traceback"
        elif MESSAGE.match(line) or (self.within == "traceback" and text and text == line):
            self.message, self.within = [text], "message"
        elif not text and self.within == "message" and len(self.message) == 1 and self.message[0].endswith(":"):
            pass  # the text of the message comes after an empty line
        elif not text or LOGGED.match(line):
            self.within = "" if self.within == "message" else self.within
            self.plain = self.plain if not text else []
        elif self.within == "message":
            self.add(self.message, text)
        elif text.startswith(HYDRA_ENDS):
            self.message = self.message or self.plain
        elif HYDRA_BEGINS.match(text):
            self.plain = []
        elif self.within != "traceback":
            self.add(self.plain, text)

    def add(self, lines: list[str], text: str) -> None:
        """Add a line to a message, but not one that OmegaConf adds for programmers."""
        if len(lines) < MOST_LINES and not text.startswith(("reference_type=", "object_type=")):
            lines.append(text)

    def __str__(self) -> str:
        text = " ".join(self.message)
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
