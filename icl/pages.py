"""Static HTML pages with pictures beside them: they open by a double click, print, and travel with their folder."""

import html
from collections.abc import Iterable

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#111}"
    "img{max-width:100%;height:auto}h2{margin-top:2.5rem;border-top:1px solid #ccc;padding-top:1rem}"
    ".answer{white-space:pre-line;font-weight:600}.rule,footer{color:#555;font-size:.85rem}"
)


def document(title: str, body: Iterable[str], footer: str) -> str:
    """The page as text. `body` is markup already, `title` and `footer` are not."""
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    lines = ["<!doctype html>", f'<html lang="en"><head>{head}</head><body>', f"<h1>{html.escape(title)}</h1>"]
    return "\n".join([*lines, *body, f"<footer>{html.escape(footer)}</footer>", "</body></html>", ""])
