"""Hugging Face: what a repository holds and how to ask for it, over its plain HTTP API."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from localrun.errors import FetchError
from localrun.model.retry import redact, short_url
from localrun.model.sources import HubRef
from localrun.model.transfer import Http, Refused
from localrun.model.variants import RepoFile, check_name

_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repository at one commit."""

    name: str
    commit: str  # 40 hex digits
    files: tuple[RepoFile, ...]
    license: str = ""  # as its card states it


def list_repo(http: Http, ref: HubRef, env: Mapping[str, str]) -> HubRepo:
    """What a repository holds now. Raises FetchError, in words that say what to do."""
    url = f"{endpoint(env)}/api/models/{ref.repo}/revision/{quote(ref.revision, safe='')}?blobs=true"
    try:
        about = json.loads(http.get(url, key_headers(env)))
        files = tuple(_file(sibling) for sibling in about["siblings"])
        commit, card = about["sha"], about.get("cardData") or {}
    except Refused as e:
        raise explained(e, ref.repo, env) from None
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        raise FetchError(f"the hub's answer about {ref.repo} cannot be read: {e!r}") from None
    if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise FetchError(f"the hub's answer about {ref.repo} names no commit")
    stated = card.get("license") if isinstance(card, dict) else ""
    return HubRepo(ref.repo, commit, files, stated if isinstance(stated, str) else "")


def _file(sibling: dict[str, object]) -> RepoFile:
    path, size, lfs = sibling["rfilename"], sibling.get("size"), sibling.get("lfs")
    if not isinstance(path, str):
        raise TypeError("a file without a name")
    check_name(path)
    sha256 = lfs.get("sha256") if isinstance(lfs, dict) else ""
    known = isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256)
    return RepoFile(path, size if type(size) is int and size >= 0 else 0, str(sha256) if known else "")


def endpoint(env: Mapping[str, str]) -> str:
    """The hub's address: HF_ENDPOINT or huggingface.co. Raises FetchError for another scheme."""
    found = env.get("HF_ENDPOINT", "").rstrip("/") or _ENDPOINT
    if not found.startswith(("http://", "https://")):
        raise FetchError(f"HF_ENDPOINT is not an http(s) address: {redact(found)!r}")
    return found


def file_url(env: Mapping[str, str], repo: str, revision: str, path: str) -> str:
    return f"{endpoint(env)}/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"


def key_headers(env: Mapping[str, str]) -> dict[str, str]:
    """The user's key, from HF_TOKEN or the file that `hf auth login` writes."""
    token = env.get("HF_TOKEN", "").strip() or _token_file(env)
    return {"Authorization": f"Bearer {token}"} if token else {}


def _token_file(env: Mapping[str, str]) -> str:
    home = env.get("HF_HOME") or f"{env.get('XDG_CACHE_HOME') or env.get('HOME', '') + '/.cache'}/huggingface"
    try:
        return Path(env.get("HF_TOKEN_PATH") or f"{home}/token").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def explained(refused: Refused, repo: str, env: Mapping[str, str]) -> FetchError:
    """The hub's answer in words that say what to do."""
    code = refused.headers.get("x-error-code", "")
    page = short_url(f"{endpoint(env)}/{repo}")
    if code == "GatedRepo" or (refused.status == 403 and not code):
        hint = f"accept the terms at {page}, then set HF_TOKEN to a key that may read it"
        return FetchError(f"{repo} is gated: its publisher asks for an agreement first", hint)
    if refused.status == 401 or code == "RepoNotFound":
        hint = f"check the name at {page}; for a private repository set HF_TOKEN"
        return FetchError(f"no repository {repo} that is open to you", hint)
    if code in ("EntryNotFound", "RevisionNotFound") or refused.status == 404:
        return FetchError(f"{repo}: no such file or revision", f"see what is there: {page}/tree/main")
    return refused
