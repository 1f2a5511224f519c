"""BibTeX of the papers that recipes and their losses cite. Reads files, imports no torch."""

import re
from collections.abc import Sequence
from pathlib import Path

from .names import ALGOS, Unknown, closest, names, recipe

BIB = ALGOS / "papers.bib"


def cite(conf: Path, asked: Sequence[str]) -> str:
    """The entries of some recipes, of all where none is asked for, each once."""
    known = names("algo", [conf])
    for name in asked:
        if name not in known:
            raise Unknown(
                f"there is no algo {name!r}: did you mean {closest(name, known)}? "
                f"`prefzoo list algos` shows all {len(known)}"
            )
    found = [recipe(conf / "algo" / f"{name}.yaml") for name in asked or known]
    cited = dict.fromkeys(url for r in found for url in r.papers)
    written = entries(BIB.read_text())
    for url in cited:
        if url not in written:
            raise Unknown(f"{BIB} has no entry whose url is {url}: add one")
    return "\n".join(written[url] for url in cited)


def entries(bib: str) -> dict[str, str]:
    """Address -> entry, as written: it ends where a brace closes at the beginning of a line."""
    found = re.findall(r"^@.*?^}\n", bib, re.MULTILINE | re.DOTALL)
    return {re.findall(r"^  url = {(.*)},$", entry, re.MULTILINE)[0]: entry for entry in found}
