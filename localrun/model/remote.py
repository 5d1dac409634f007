"""Models that are not here yet, from their headers: a few MB by HTTP range, however big the files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from localrun.config import Paths
from localrun.errors import HeaderError, LocalrunError
from localrun.model.facts import Model, ModelFile
from localrun.model.header import model_from_header
from localrun.model.hub_source import HubRepo, explained, file_url, key_headers
from localrun.model.remote_header import LITTLE, MUCH, kept_bytes, read_remote
from localrun.model.retry import Unreachable
from localrun.model.transfer import Http, Refused
from localrun.model.variants import RepoFile, Variant, check_whole
from localrun.native import Header

_IN_FLIGHT = 3


@dataclass(frozen=True, slots=True)
class Remote:
    """A quant of a repository: the model that it is, or why that cannot be told."""

    variant: Variant
    model: Model | None
    why_not: str = ""


class RepoHeaders:
    """The headers of one repository's files. Raises FetchError, HeaderError and ModelError."""

    def __init__(self, http: Http, repo: HubRepo, paths: Paths, env: Mapping[str, str]) -> None:
        self._http, self._repo, self._paths, self._env = http, repo, paths, env

    def model(self, variant: Variant) -> Model:
        """What a quant is, read from its headers alone."""
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            return self._join(variant, self._start(pool, variant, b""))

    def models(self, variants: Sequence[Variant]) -> tuple[Remote, ...]:
        """What every quant is. One that cannot be read does not hide the others.

        The vocabulary, most of a header, is read once: the others' come with a hole that the first fills.
        """
        found: list[Remote] = []
        rest, donor = list(variants), b""
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            while rest and not donor:
                variant = rest.pop(0)
                found.append(self._told(variant, self._start(pool, variant, b"")))
                if found[-1].model:
                    donor = kept_bytes(self._paths, variant.files[0].sha256)
            started = [(variant, self._start(pool, variant, donor)) for variant in rest]
            found += [self._told(variant, futures) for variant, futures in started]
        return tuple(found)

    def _told(self, variant: Variant, futures: Sequence[Future[Header]]) -> Remote:
        try:
            return Remote(variant, self._join(variant, futures))
        except Unreachable:
            raise
        except LocalrunError as e:
            return Remote(variant, None, str(e))

    def _start(self, pool: ThreadPoolExecutor, variant: Variant, donor: bytes) -> list[Future[Header]]:
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
