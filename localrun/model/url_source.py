"""One pinned file over HTTP, from an address or out of a Hugging Face repository."""

from __future__ import annotations

from pathlib import Path

from localrun.model.hub_source import explained, file_url, key_headers
from localrun.model.part import Part
from localrun.model.sources import HubSource, Request, UrlSource, Work
from localrun.model.transfer import Http, Refused


def fetch(request: Request, source: HubSource | UrlSource, target: Path, work: Work) -> None:
    """Puts the verified file at `target`. Raises FetchError; what arrived stays for the next run."""
    if isinstance(source, HubSource):
        url = file_url(work.net.env, source.repo, source.revision, source.path)
        headers = key_headers(work.net.env)
    else:
        url, headers = source.url, {}
    part = Part(work.staging / request.name)
    try:
        with Http(work.net) as http:
            http.download_verified(
                url,
                part,
                name=request.name,
                total=request.bytes,
                sha256=request.sha256,
                progress=work.progress,
                headers=headers,
            )
        part.hand_over(target)
    except Refused as e:
        raise (explained(e, source.repo, work.net.env) if isinstance(source, HubSource) else e) from None
    finally:
        part.close()
