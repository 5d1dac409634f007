"""What is served beside a model: its vision projector (--mmproj) and a drafting model (--model-draft)."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrun.commands.base import App
from localrun.commands.target import Target, net, progress
from localrun.errors import UsageError
from localrun.model.facts import Model
from localrun.plan.choose import Offer
from localrun.plan.values import Plan
from localrun.recipe.values import Launch
from localrun.value import replace

if TYPE_CHECKING:
    from localrun.model.facts import Projector


def attach(target: Target, options: dict[str, Any]) -> Target:
    """The target with what the flags ask to serve beside it. Raises UsageError, ModelError."""
    projector, draft = _projector(target, options.get("mmproj") or "none"), _draft(options.get("model_draft"))
    if projector is None and draft is None:
        return target

    def model(offer: Offer) -> Model:
        return replace(offer.model(), projector=projector, draft=draft)

    def with_it(offer: Offer) -> Offer:
        return Offer(offer.quant, offer.bytes, functools.partial(model, offer))

    here = tuple((with_it(offer), path) for offer, path in target.here)
    if isinstance(target.models, Model):
        return replace(target, models=replace(target.models, projector=projector, draft=draft), here=here)
    return replace(target, models=[with_it(o) for o in target.models], here=here)


def _projector(target: Target, wanted: str) -> Projector | None:
    if wanted == "none":
        return None
    if wanted != "auto":
        from localrun.model.projector import read_projector

        return read_projector(Path(wanted).absolute())
    found = target.projector()
    if found is None:
        raise UsageError(
            f"no vision projector (mmproj) is known for {target.name}", "name one: --mmproj FILE"
        )
    return found


def _draft(path: str | None) -> Model | None:
    if not path:
        return None
    from localrun.model.header import read_model

    return read_model(Path(path).absolute())


def obtained(app: App, target: Target, plan: Plan, path: Path) -> tuple[Projector | None, Model | None]:
    """The plan's projector and draft as files that are here; a projector that is not is fetched."""
    projector = plan.model.projector
    if projector is not None and not os.path.isabs(projector.file.name):
        from localrun.model.projector import beside, read_projector

        found = beside(path)
        if found is None and target.repo is not None:
            from localrun.model.pull import pull_projector

            found = pull_projector(target.repo, app.session.paths, net(app), progress(app))
        if found is None:
            raise UsageError(f"no vision projector lies beside {path}", "name one: --mmproj FILE")
        projector = read_projector(found)
    return projector, plan.model.draft


def launched(launch: Launch, model: Model) -> Launch:
    """The launch with the files of what is served beside the model."""
    return replace(
        launch,
        mmproj=model.projector.file.name if model.projector else "",
        model_draft=model.draft.files[0].name if model.draft else "",
    )
