"""One request to a model in this process: its text as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from localrun.native.loop import Request, State
from localrun.native.meter import MeterSnapshot

#: Seconds between two looks at whether someone pressed Ctrl-C.
LOOK = 0.1


class Generation:
    """Text as it comes; `state` and `ids` tell the rest. Ended by its end, `close`, or `with`."""

    def __init__(
        self,
        request: Request,
        check: Callable[[State], None],
        on_prompt: Callable[[int, int], None] | None = None,
    ) -> None:
        """`check` raises for a state that is a failure; `on_prompt` hears of the prompt's progress."""
        self._request, self._check, self._on_prompt = request, check, on_prompt
        self._ended = False
        self.state = request.read(text=False)[1]
        self.ids: list[int] = []  # all tokens, once it has ended
        self.timing: MeterSnapshot | None = None  # once it has ended

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._ended:
            raise StopIteration
        while True:
            n_read = self.state.n_read
            # A wait without end would not hear a Ctrl-C.
            text, self.state = self._request.read(LOOK)
            if self._on_prompt is not None and self.state.n_read != n_read:
                self._on_prompt(self.state.n_read, self.state.n_prompt)
            if text:
                return text
            if self.state.finish:
                self.close()
                self._check(self.state)
                raise StopIteration

    @property
    def finish(self) -> str:
        """Why it ended: eog, stop, length, context, cancelled; "" while it runs."""
        return self.state.finish

    def cancel(self) -> None:
        """Ends it within one token; what came until then can still be read. Any thread."""
        self._request.cancel()

    def close(self) -> None:
        """Gives the sequence back; what was not read is lost."""
        if self._ended:
            return
        self._ended = True
        self._request.cancel()
        while not (state := self._request.read(LOOK, text=False)[1]).finish:
            pass
        self.state, self.ids, self.timing = state, self._request.ids(), self._request.meter()
        self._request.end()

    def __enter__(self) -> Generation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
