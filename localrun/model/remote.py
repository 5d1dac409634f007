"""Models that are not here yet, from their headers: a few MB by HTTP range, however big the files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from localrun.config import Paths
from localrun.errors import HeaderError, LocalrunError
from localrun.model.facts import Model, ModelFile, Projector
from localrun.model.header import model_from_header
from localrun.model.hub_source import HubRepo, explained, file_url, key_headers
from localrun.model.projector import projector_from_header
from localrun.model.remote_header import LITTLE, MUCH, has_vocabulary, kept_bytes, read_remote
from localrun.model.retry import Unreachable
from localrun.model.transfer import Http, Refused
from localrun.model.variants import RepoFile, Variant, check_whole
from localrun.native import Header
from localrun.value import dataclass

_IN_FLIGHT = 3


@dataclass(frozen=True, slots=True)
class Remote:
    """A quant of a repository: the model that it is, or why that cannot be told."""

    variant: Variant
    model: Model | None
    why_not: str = ""


def remote_model(http: Http, repo: HubRepo, variant: Variant, paths: Paths, env: Mapping[str, str]) -> Model:
    """What one quant of a repository is, read from its headers alone. Raises as RepoHeaders does."""
    return RepoHeaders(http, repo, paths, env).model(variant)


class RepoHeaders:
    """The headers of one repository's files. Raises FetchError, HeaderError and ModelError.

    The vocabulary, most of a header, is read once for all quants, now or in an earlier run: the others come
    with a hole that the first fills.
    """

    def __init__(self, http: Http, repo: HubRepo, paths: Paths, env: Mapping[str, str]) -> None:
        self._http, self._repo, self._paths, self._env = http, repo, paths, env
        self._donor = b""

    def model(self, variant: Variant) -> Model:
        """What a quant is."""
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            return self._join(variant, self._start(pool, variant))

    def projector(self, file: RepoFile) -> Projector:
        """What a vision projector of the repository is."""
        header = self._one(file, b"", LITTLE)
        return projector_from_header(header, ModelFile(file.path, file.bytes, header.data_offset))

    def models(self, variants: Sequence[Variant]) -> tuple[Remote, ...]:
        """What every quant is, in the order given. One that cannot be read does not hide the others."""
        found: list[Remote] = []
        rest = list(variants)
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            while rest and not self._vocabulary():
                variant = rest.pop(0)
                found.append(self._told(variant, self._start(pool, variant)))
            started = [(variant, self._start(pool, variant)) for variant in rest]
            found += [self._told(variant, futures) for variant, futures in started]
        return tuple(found)

    def _vocabulary(self) -> bytes:
        """A kept header of the repository with its vocabulary; b"" while there is none."""
        if not self._donor:
            kept = (kept_bytes(self._paths, file.sha256) for file in self._repo.files)
            self._donor = next((data for data in kept if has_vocabulary(data)), b"")
        return self._donor

    def _told(self, variant: Variant, futures: Sequence[Future[Header]]) -> Remote:
        try:
            return Remote(variant, self._join(variant, futures))
        except Unreachable:
            raise
        except LocalrunError as e:
            return Remote(variant, None, str(e))

    def _start(self, pool: ThreadPoolExecutor, variant: Variant) -> list[Future[Header]]:
        donor = self._vocabulary()
        return [
            pool.submit(self._one, file, donor if i == 0 else b"", LITTLE if i or donor else MUCH)
            for i, file in enumerate(variant.files)
        ]

    def _one(self, file: RepoFile, donor: bytes, first: int) -> Header:
        url = file_url(self._env, self._repo.name, self._repo.commit, file.path)
        key = key_headers(self._env)
        try:
            return read_remote(
                self._http,
                url,
                file.sha256,
                self._paths,
                size=file.bytes,
                headers=key,
                first=first,
                donor=donor,
            )
        except Refused as e:
            raise explained(e, self._repo.name, self._env) from None
        except HeaderError as e:
            raise HeaderError(f"{self._repo.name}: {file.path}: {e}", e.hint) from None

    def _join(self, variant: Variant, futures: Sequence[Future[Header]]) -> Model:
        check_whole(variant, self._repo.name)
        headers = [future.result() for future in futures]
        files = [
            ModelFile(file.path, file.bytes, header.data_offset)
            for file, header in zip(variant.files, headers, strict=True)
        ]
        return model_from_header(headers, files, f"hf:{self._repo.name}:{variant.quant}")
