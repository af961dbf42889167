"""A page as its reader sees it: text, links, marked words, examples and entries."""

from html.parser import HTMLParser

VOID = ("meta", "img", "input", "line", "rect", "path", "polyline", "circle")


class Page(HTMLParser):
    """A parsed page; fails on a tag that is not closed in order, and on an id that repeats."""

    def __init__(self, content):
        super().__init__()
        self.open, self.words, self.ids, self.links, self.marked = [], [], [], [], []
        self.examples, self.entries, self.handlers, self.tags = [], [], [], set()
        self.feed(content)
        self.close()
        assert not self.open
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self.handlers += [name for name in attrs if name.startswith("on") or name == "style"]
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs[name] for name in ("src", "href") if name in attrs]
        self.entries += [attrs["data-entry"]] if "data-entry" in attrs else []
        if tag == "figure":
            self.examples.append((attrs.get("class", ""), []))  # none without a label
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.words.append(data)
        if "mark" in self.open:
            self.marked.append(data)
        if "figure" in self.open:
            self.examples[-1][1].append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())
