"""Times Modelfile reading: 10 MB of each kind of text, and twice that, in processor seconds.

    python bench/modelfile.py

The target is 10 MB in 1 s for texts as people write them, and a ratio near 2 for every kind.
"""

from __future__ import annotations

import contextlib
import time

from localrun.recipe.modelfile import ModelfileError, parse

SIZE = 10_000_000
KINDS = {
    "one long SYSTEM": (
        'SYSTEM """',
        "a line of a prompt, eighty characters long or nearly so, and then one more\n",
    ),
    "messages": ("", "MESSAGE user how much memory does this model take on a machine with 64 GiB of RAM?\n"),
    "licences, not ASCII": ('LICENSE """', "Die Lizenz gewährt Rechte – „ohne Gewähr“ – für jede Größe.\n"),
    "hostile: quotation marks": ('SYSTEM """', '"'),
    "hostile: lines of spaces": ('SYSTEM """', '"  \n '),
    "hostile: dropped characters": ('SYSTEM """', '"\x01"\u200b'),
    "hostile: empty lines": ("", "\n"),
    "hostile: a million commands": ("", "FROM x\n"),
    "hostile: comments": ("", "#\n"),
}


def seconds(text: str) -> float:
    data = text.encode()
    best = float("inf")
    for _ in range(3):
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
