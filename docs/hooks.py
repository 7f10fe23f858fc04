"""mkdocs hooks: pages made from the README, the project files, docstrings and the demo's output."""

import re
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "outputs" / "demo"
NOTEBOOKS = ("eda", "training", "inference")

PACKAGES = {
    "index": "The public interface, and the modules that everything else uses.",
    "data": "From a competition folder to batches.",
    "models": "Views, augmentation, backbones and the classifier.",
    "training": "The training loop, test-time augmentation, runs and out-of-fold scores.",
    "inference": "Prediction and submissions.",
    "recording": "EEG of hours: reading, sliding prediction, events, page.",
    "ensembling": "Blends of runs and of other models.",
    "sweeps": "Many trainings of one recipe.",
    "kernels": "Notebooks on Kaggle.",
    "synthetic": "The simulator.",
    "eda": "Data exploration.",
    "plots": "Figures.",
    "utils": "Files, configuration, errors.",
}


PROJECT = {"index": "README", "contributing": "CONTRIBUTING", "changelog": "CHANGELOG"}

ORDER = (
    "index", "data", "models", "model-card", "recording", "kaggle", "sweeps", "ensembles",
    "results", "rehearsal", "reliability", "architecture", "dependencies", "licences",
    "contributing", "changelog",
)  # fmt: skip


def on_config(config):
    """Order the pages; the demo's are there once it has run."""
    pages: list = [f"{name}.md" for name in ORDER if name in PROJECT or _is_page(name)]
    demo = [{"Demo": "demo/index.md"}] if _demo_pages() else []
    config.nav = [*pages, *demo, {"API": [f"api/{name}.md" for name in PACKAGES]}]
    return config


def _is_page(name: str) -> bool:
    return (ROOT / "docs" / f"{name}.md").is_file()


def _demo_pages() -> list[str]:
    return [name for name in NOTEBOOKS if (DEMO / f"{name}.html").is_file()]


def on_files(files: Files, config) -> Files:
    """Add the generated pages."""
    for name, source in ((f"{page}.md", f"{file}.md") for page, file in PROJECT.items()):
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_relative_to_docs(text)))
    files.append(File.generated(config, "CITATION.cff", abs_src_path=str(ROOT / "CITATION.cff")))
    for name, text in PACKAGES.items():
        files.append(File.generated(config, f"api/{name}.md", content=_api_page(name, text)))
    pages = _demo_pages()
    if pages:
        links = "\n".join(f"- [{name}]({name}.html)" for name in pages)
        text = f"# Demo\n\nThe executed notebooks of `make demo`:\n\n{links}\n"
        files.append(File.generated(config, "demo/index.md", content=text))
    for name in pages:
        source = str(DEMO / f"{name}.html")
        files.append(File.generated(config, f"demo/{name}.html", abs_src_path=source))
    return files


def _relative_to_docs(text: str) -> str:
    """Rewrite the links of a file at the root for a page of the site."""
    text = re.sub(r"\]\(docs/", "](", text)
    text = text.replace("](CONTRIBUTING.md", "](contributing.md")
    return text.replace("](CHANGELOG.md", "](changelog.md")


def _api_page(name: str, text: str) -> str:
    package = ROOT / "hbac_utils"
    folder = package if name == "index" else package / name
    modules = sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))
    prefix = "hbac_utils" if name == "index" else f"hbac_utils.{name}"
    title = "API" if name == "index" else prefix
    parts = [f"# {title}\n\n{text}\n"]
    if name == "index":
        public = re.findall(
            r'^    "(\w+)": "([\w.]+)",$', (package / "__init__.py").read_text(), re.M
        )
        listed = "\n".join(f"- [`hbac_utils.{n}`][{home}.{n}]" for n, home in sorted(public))
        parts.append(f"{listed}\n")
    return "\n".join([*parts, *(f"::: {prefix}.{module}\n" for module in modules)])
