"""Find links of a built site that lead nowhere: `python docs/check_links.py docs/_build/html` prints them and fails."""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self):
        super().__init__()
        self.links, self.places = set(), {"", "top"}

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.places.update(attributes[name] for name in ("id", "name") if attributes.get(name))
        self.links.update(attributes[name] for name in ("href", "src") if attributes.get(name))


@cache
def page_at(path):
    """The parsed page."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def broken_links(folder):
    """Pairs of a page and a link of it, to a file or a place in a page that does not exist; links to sites are left."""
    broken = []
    for path in pages_of(folder):
        for link in sorted(page_at(path).links):
            url = urlsplit(link)
            if not (url.scheme or url.netloc or leads_somewhere(path, unquote(url.path), unquote(url.fragment))):
                broken.append((path.relative_to(folder), link))
    return broken


def pages_of(folder):
    """The site's pages, without the theme's templates."""
    return sorted(path for path in folder.rglob("*.html") if "_static" not in path.relative_to(folder).parts)


def leads_somewhere(source, relative, fragment):
    """Whether the file exists, and the place in it if it is a page."""
    target = (source.parent / relative).resolve() if relative else source
    if target.suffix != ".html":
        return target.exists()
    return target.is_file() and fragment in page_at(target).places


def main(folder):
    """Print what is broken; 1 if anything is, or if there is no page."""
    if not pages_of(folder):
        print(f"{folder} has no page: build the site first")
        return 1
    broken = broken_links(folder)
    for page, link in broken:
        print(f"{page}: {link} leads nowhere")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
