"""Times Modelfile reading: 10 MB of each kind of text, and twice that, in processor seconds.

    python bench/modelfile.py

The target is 10 MB in 1 s for every kind, and a ratio near 2. Names and arguments of all commands are at
hand then; their lines and columns are told when they are asked for.
"""

from __future__ import annotations

import contextlib
import time

from localrun.recipe.modelfile import ModelfileError, parse

SIZE = 10_000_000
PROSE = "a line of a prompt, eighty characters long or nearly so, and then one more\n"
#: What the text begins with after its FROM, and what is then repeated.
KINDS = {
    "one long SYSTEM": ('SYSTEM """', PROSE),
    "one long line": ("SYSTEM ", PROSE.replace("\n", " ")),
    "messages": ("", "MESSAGE user how much memory does this model take on a machine with 64 GiB of RAM?\n"),
    "parameters": ("", "PARAMETER stop <|im_end|>\n"),
    "short texts": ("", 'SYSTEM """You are brief.\nAnd kind.\n"""\n\n# why\n'),
    "licences, not ASCII": ('LICENSE """', "Die Lizenz gewährt Rechte – „ohne Gewähr“ – für jede Größe.\n"),
    "hostile: a million commands": ("", "FROM x\n"),
    "hostile: without values": ("", "FROM \n"),
    "hostile: with spaces and CRLF": ("", " FROM x \r\n"),
    "hostile: quoted": ("", 'FROM "a"\n'),
    "hostile: nothing quoted": ("", 'FROM ""\n'),
    "hostile: quoted line ends": ("", 'FROM "\n"\n'),
    "hostile: three quotation marks": ("", 'FROM """\n"""\n'),
    "hostile: quotation marks inside": ("", 'FROM "a"b"\n'),
    "hostile: four quotation marks": ("", 'FROM """a""""\n'),
    "hostile: all forms in turn": ("", 'FROM x\nFROM "a"b"\n'),
    "hostile: dropped in each": ("", "FROM x\x01\n"),
    "hostile: dropped before each": ("", "\x01FROM x\n"),
    "hostile: quotation marks": ('SYSTEM """', '"'),
    "hostile: a line of them": ('SYSTEM "', '"x'),
    "hostile: lines of spaces": ('SYSTEM """', '"  \n '),
    "hostile: spaces after quotes": ('SYSTEM "', '"' + " " * 60),
    "hostile: dropped characters": ('SYSTEM """', '"\x01"\u200b'),
    "hostile: empty lines": ("", "\n"),
    "hostile: comments": ("", "#\n"),
    "hostile: not a command": ("", "x\n"),
}


def seconds(text: str) -> float:
    data = text.encode()
    best = float("inf")
    for _ in range(2):
        start = time.process_time()
        with contextlib.suppress(ModelfileError):  # an open string is refused once all of it was read
            parse(data)
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    for kind, (head, piece) in KINDS.items():
        text = f"FROM x\n{head}" + piece * (SIZE // len(piece.encode()))
        one, two = seconds(text), seconds(text + text[len("FROM x\n") + len(head) :])
        print(f"{kind:30} {one:7.3f} s for 10 MB   {two / one:4.1f}x for twice that")


if __name__ == "__main__":
    main()
