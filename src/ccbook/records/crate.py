"""An archive's provenance for other tools: a Process Run Crate, which is RO-Crate 1.1 with an action for each run."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccbook import ROOT
from ccbook.citation import works
from ccbook.records import history
from ccbook.records.run import Run

METADATA = "ro-crate-metadata.json"
PROFILE, LICENCE = "https://w3id.org/ro/wfrun/process/0.5", "https://spdx.org/licenses/CC-BY-4.0"
BYTES = "application/octet-stream"
TYPES = {".csv": "text/csv", ".json": "application/json", ".py": "text/x-python"}


def crate(runs: Sequence[Run]) -> dict[str, Any]:
    """What ro-crate-metadata.json says of runs that lie in folders of their names beside it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    software, paper = f"#{project['name']}-{project['version']}", works()[1]
    address = f"https://doi.org/{paper['doi']}"
    entities = [
        _entity(METADATA, "CreativeWork", conformsTo=_at("https://w3id.org/ro/crate/1.1"), about=_at("./")),
        _entity(PROFILE, "CreativeWork", name="Process Run Crate", version="0.5"),
        _entity(LICENCE, "CreativeWork", name="Creative Commons Attribution 4.0"),
        _entity(address, "ScholarlyArticle", name=paper["title"]),
        _entity(software, "SoftwareApplication", name="The paper's executable edition", url=address,
                softwareVersion=project["version"]),
    ]  # fmt: skip
    parts = []
    for run in runs:
        receipt, p = run.receipt, run.parameters
        digits = f"#digits-{receipt['data']['sha256'][:12]}"
        files = [f"{run.id}/{name}" for name in ("receipt.json", *receipt["artefacts"])]
        entities += [
            _entity(digits, "CreativeWork", name=Path(p.dataset).name, identifier=receipt["data"]["sha256"]),
            _entity(f"#{run.id}", "CreateAction", name=run.id, description=history.command(p, public=True),
                    endTime=receipt["finished"], instrument=_at(software),
                    object=_at(digits), result=[_at(name) for name in files]),
        ]  # fmt: skip
        entities += [_entity(name, "File", name=Path(name).name, encodingFormat=TYPES.get(Path(name).suffix, BYTES))
                     for name in files]  # fmt: skip
        parts += files
    latest = max(run.receipt["finished"][:10] for run in runs)  # the same runs give the same metadata
    root = _entity("./", "Dataset", conformsTo=_at(PROFILE), name="Runs of an executable paper", datePublished=latest,
                   description="Trained posteriors and what was measured of them, with receipts and sources",
                   license=_at(LICENCE), citation=_at(address), hasPart=[_at(name) for name in parts],
                   mentions=[_at(f"#{run.id}") for run in runs])  # fmt: skip
    each = {entity["@id"]: entity for entity in [*entities, root]}
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": list(each.values())}


def _entity(identifier: str, kind: str, /, **properties: Any) -> dict[str, Any]:
    return {"@id": identifier, "@type": kind} | properties


def _at(identifier: str) -> dict[str, str]:
    return {"@id": identifier}
