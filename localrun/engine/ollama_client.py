"""Ollama's server driven through its Python client: the one module that imports `ollama`.

The client's traps and what is done about them: it reads OLLAMA_HOST when it is imported and may
die of it, so the variable is hidden meanwhile; proxies are never used; every wait has a limit;
options go as plain dicts, for its own class drops min_p; blobs are asked for before they are sent.
All errors come out as ours.
"""

from __future__ import annotations

import ast
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localrun.engine import ollama_errors
from localrun.engine import ollama_wire as wire
from localrun.engine.ollama_address import Address
from localrun.engine.ollama_wire import Progress
from localrun.errors import EngineError, EngineMissing, UsageError
from localrun.model.ollama_name import is_cloud, parse_name
from localrun.recipe.modelfile_params import Value, version

Version = tuple[int, int, int]

_CONNECT = 5.0
_QUICK = 30.0
#: Nothing for so long in the middle of a pull or a create is a stall.
_STALL = 300.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """One line of `ollama ps`. Experts moved by LLAMA_ARG_N_CPU_MOE still count as in VRAM there."""

    name: str
    digest: str
    size: int  # bytes; 0 where the server could not read its engine's log
    size_vram: int
    ctx_size: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What `/api/show` says of one model."""

    architecture: str
    parameters: tuple[tuple[str, str], ...]  # as in its Modelfile
    template: str
    system: str
    remote: bool


class Server:
    """One server at one address. Every method raises EngineError or a kin of it, nothing else."""

    def __init__(
        self, address: Address, *, quick: float = _QUICK, stall: float = _STALL, load: float = 3600.0
    ) -> None:
        """Seconds without a byte: of a small question, in a stream, and while weights load."""
        self.address = address
        self._quick = quick
        self._stall = stall
        self._load = load

    def version(self) -> Version:
        """The server's version; a build without one counts as the newest."""
        text = str(self._plain("GET", "/api/version").get("version", ""))
        found = version(text)
        if found is None:
            raise ollama_errors.garbled(self.address.url, f"version {text!r}")
        return found if found != (0, 0, 0) else (999, 0, 0)

    def names(self) -> dict[str, str]:
        """Every model's name and digest."""
        with self._client(self._quick) as client:
            return {str(m.model): str(m.digest) for m in client.list().models}

    def loaded(self) -> tuple[Loaded, ...]:
        models = self._plain("GET", "/api/ps").get("models") or []
        try:
            return tuple(
                Loaded(
                    m["name"],
                    m["digest"],
                    m.get("size", 0),
                    m.get("size_vram", 0),
                    m.get("context_length", 0),
                )
                for m in models
            )
        except (KeyError, TypeError, AttributeError):
            raise ollama_errors.garbled(self.address.url, str(models)) from None

    def show(self, name: str) -> Shown:
        """Raises ModelError when there is no such model."""
        answer = self._plain("POST", "/api/show", {"model": name})
        info = answer.get("model_info") or {}
        lines = (
            line.split(None, 1) for line in str(answer.get("parameters") or "").splitlines() if line.strip()
        )
        return Shown(
            architecture=str(info.get("general.architecture", "")),
            parameters=tuple((p[0], _unquoted(p[1] if len(p) > 1 else "")) for p in lines),
            template=str(answer.get("template") or ""),
            system=str(answer.get("system") or ""),
            remote=bool(answer.get("remote_host") or answer.get("remote_model")),
        )

    def pull(self, name: str, progress: Progress) -> None:
        """Fetch from Ollama's registry; again, and it goes on where it stopped. Raises FetchError."""
        refuse_cloud(name)
        self._stream("pull", name, progress, lambda c: c.pull(name, stream=True))

    def create(self, name: str, progress: Progress, **request: Any) -> None:
        """POST /api/create: from, files, adapters, parameters, template, renderer, parser ...

        Not through the client: its create knows no renderer, parser, requires or draft.
        """
        body = {key.rstrip("_"): value for key, value in request.items() if value}
        last = ""
        for step in wire.stream(self.address, "/api/create", {**body, "model": name}, self._stall):
            last = str(step.get("status") or "")
            progress(last, wire.whole(step.get("completed")), wire.whole(step.get("total")))
        if last != "success":
            raise EngineError(f"Ollama ended the create of {name} without saying success", "run it again")

    def upload(self, path: str, progress: Progress) -> str:
        """The digest of a file that the server then has; sent only when the server lacks it."""
        digest = wire.digest_of(path, progress)
        if not wire.has_blob(self.address, digest, self._quick):
            wire.send_blob(self.address, digest, path, progress, self._stall)
        return digest

    def copy(self, source: str, name: str) -> None:
        with self._client(self._quick) as client:
            client.copy(source, name)

    def delete(self, name: str) -> None:
        """Raises ModelError when there is no such model."""
        with self._client(self._quick) as client:
            client.delete(name)

    def load(self, name: str, keep: str | int = -1) -> None:
        """Bring the weights into memory and keep them for `keep`, as Ollama writes durations; -1 = for ever."""
        with self._client(self._load, "load") as client:
            client.generate(name, prompt="", keep_alive=keep)

    def unload(self, name: str) -> None:
        with self._client(self._quick) as client:
            client.generate(name, prompt="", keep_alive=0)

    def generate(
        self, name: str, prompt: str, options: Mapping[str, Any], raw: bool = False
    ) -> dict[str, Any]:
        """One answer with its timings in nanoseconds; too long a prompt is refused, never cut.

        `raw`: the prompt as it stands, without the model's template.
        """
        body = {"model": name, "prompt": prompt, "options": dict(options), "stream": False, "raw": raw}
        return self._plain("POST", "/api/generate", {**body, "truncate": False, "shift": False}, self._load)

    def _plain(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, patience: float = 0.0
    ) -> dict[str, Any]:
        return wire.ask(self.address, method, path, body, patience or self._quick)

    def _stream(self, doing: str, name: str, progress: Progress, call: Callable[[Any], Any]) -> None:
        last = ""
        with self._client(self._stall, doing) as client:
            for step in call(client):
                last = str(step.status or "")
                progress(last, int(step.completed or 0), int(step.total or 0))
        if last != "success":
            raise EngineError(f"Ollama ended the {doing} of {name} without saying success", "run it again")

    @contextlib.contextmanager
    def _client(self, patience: float, doing: str = "") -> Iterator[Any]:
        """The client for one task, its exceptions made ours."""
        ollama = _import()
        import httpx

        url = self.address.url
        limit = httpx.Timeout(patience, connect=_CONNECT)
        try:
            with ollama.Client(host=url, timeout=limit, trust_env=False, follow_redirects=False) as client:
                yield client
        except ollama.ResponseError as e:
            raise ollama_errors.from_response(e.status_code, str(e.error), doing) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, ConnectionError):
            raise ollama_errors.unreachable(url) from None
        except httpx.TimeoutException:
            raise ollama_errors.silent(url, patience) from None
        except httpx.HTTPError as e:
            raise EngineError(
                f"the connection to Ollama broke: {e or type(e).__name__}", "run it again"
            ) from None
        except ValueError as e:  # JSON that is none, or not what the client expects
            raise ollama_errors.garbled(url, str(e)) from None


def refuse_cloud(name: str) -> None:
    """Raises UsageError for a name that is none, or that Ollama would run on its own servers."""
    if parse_name(name) is None:
        raise UsageError(f"not the name of a model in Ollama: {name!r}", "write it as NAME or NAME:TAG")
    if is_cloud(name):
        raise UsageError(
            f"{name} runs on Ollama's servers, not on this machine",
            "local means local: take a tag with weights, or the GGUF files",
        )


def same_parameters(shown: Shown, wanted: Mapping[str, Value | Sequence[str]]) -> bool:
    """Whether a model on the server already has exactly these parameters."""
    flat: list[tuple[str, str]] = []
    for key, value in wanted.items():
        many = value if isinstance(value, list | tuple) else [value]
        flat += [(key, _plain_number(str(v).lower() if isinstance(v, bool) else str(v))) for v in many]
    return sorted(flat) == sorted((key, _plain_number(value)) for key, value in shown.parameters)


def _plain_number(text: str) -> str:
    try:
        return repr(float(text))
    except ValueError:
        return text


def _unquoted(text: str) -> str:
    """`/api/show` prints texts as Go's %#v does, whose escapes Python has too."""
    if text.startswith('"'):
        try:
            return str(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            return text.strip('"')
    return text


def _import() -> Any:
    hidden = os.environ.pop("OLLAMA_HOST", None)
    try:
        import ollama
    except ImportError:
        raise EngineMissing("the package ollama is not installed", "pip install ollama") from None
    finally:
        if hidden is not None:
            os.environ["OLLAMA_HOST"] = hidden
    return ollama
