"""What a page of ours may be made of, and a parser that takes it apart."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br"}
PROSE = {"html", "head", "title", "style", "body", "header", "main", "footer", "section", "div"}
PROSE |= {"p", "h1", "h2", "ol", "ul", "li", "dl", "dt", "dd", "figure", "figcaption", "details"}
PROSE |= {"table", "thead", "tbody", "tr", "th", "td", "summary", "code", "strong", "span", "bdi", "audio"}
DRAWN = {"svg", "g", "line", "circle", "polygon", "polyline", "path", "rect", "text", "image"}
TAGS = VOID | PROSE | DRAWN


class Page(HTMLParser):
    """Every element with its attributes, the text by element, and whether tags are balanced."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.append((self.open[-1], data))

    def text(self, *tags: str) -> str:
        """The text in these elements, or all of it but the style sheet, with single spaces."""
        chosen = [text for tag, text in self.texts if tag != "style" and (not tags or tag in tags)]
        return " ".join(" ".join(chosen).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]
