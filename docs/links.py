"""Checks every link and file of the built book: python docs/links.py build/site.

Links into the site must exist, with their anchors; links outside must be https, and are
only listed, so that the check needs no network.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors and links of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors, self.links = set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[k] for k in ("id", "name") if found.get(k)}
        self.links += [found[k] for k in ("href", "src") if found.get(k)]


def broken(site: Path) -> tuple[list[str], set[str]]:
    """What a link of the site misses, and the addresses outside."""
    pages = {p.resolve(): Page(p) for p in site.rglob("*.html")}
    missing, outside = [], set()
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("data", "mailto"):
                continue
            if parts.scheme or parts.netloc:
                outside.add(link)
                continue
            goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            known = goal not in pages or not anchor or anchor in pages[goal].anchors
            if not goal.exists() or not known:
                missing.append(f"{path.relative_to(site.resolve())}: {link}")
    return missing, outside


if __name__ == "__main__":
    missing, outside = broken(Path(sys.argv[1]))
    print(f"{len(outside)} addresses outside, {len(missing)} links broken")
    print("\n".join(missing))
    insecure = [x for x in outside if not x.startswith("https://")]
    sys.exit(bool(missing or insecure))
