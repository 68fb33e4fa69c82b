# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of all releases as one HTML page that needs nothing else: for a second screen, light, dark and narrow."""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import datetime

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.status import Row

_STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--text:#1a1d21;--soft:#5c6570;--line:#dfe3e8;--good:#1a7f37;--bad:#c62828;
--warn:#9a6700;--accent:#0b57d0}
@media (prefers-color-scheme:dark){:root{--page:#0f1216;--card:#181c22;--text:#e6e9ed;--soft:#9aa4af;--line:#2b323a;--good:#57c26f;
--bad:#ff7b72;--warn:#e3b341;--accent:#8ab4f8}}
*{box-sizing:border-box}
body{margin:0;padding:1.5rem clamp(.75rem,3vw,2.5rem);background:var(--page);color:var(--text);font:16px/1.45 system-ui,sans-serif}
header{display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:baseline;margin-bottom:1rem}
h1{font-size:1.35rem;margin:0}
header p{margin:0;color:var(--soft)}
table{width:100%;border-collapse:collapse;background:var(--card);border:1px solid var(--line);border-radius:.6rem;overflow:hidden}
caption{text-align:left;font-weight:600;font-size:1.05rem;padding:1.2rem 0 .4rem}
th,td{text-align:left;padding:.55rem .8rem;border-top:1px solid var(--line);vertical-align:top}
thead th{border-top:0;color:var(--soft);font-weight:500;font-size:.85rem}
tbody th{font-weight:600}
.version{font-family:ui-monospace,monospace;overflow-wrap:anywhere}
.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}.warn{color:var(--warn);font-weight:600}.soft{color:var(--soft)}
.why{display:block;font-size:.85rem;color:var(--soft);overflow-wrap:anywhere}
tr.trouble th{box-shadow:inset .25rem 0 0 var(--bad)}tr.held th{box-shadow:inset .25rem 0 0 var(--warn)}
@media (max-width:46rem){
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody,tr,td,tbody th{display:block}
tr{border-top:1px solid var(--line);padding:.5rem 0}tr:first-child{border-top:0}
td,tbody th{border:0;padding:.15rem .8rem}
td[data-label]::before{content:attr(data-label) ": ";color:var(--soft)}
}
"""


def render(rows: Sequence[Row], now: datetime, title: str, refresh: int = 60) -> str:
    """Return the page. `refresh` is after how many seconds a browser reads the file again (0: never)."""
    environments = list(dict.fromkeys(row.environment for row in rows))
    sections = "".join(_section(name, [row for row in rows if row.environment == name]) for name in environments)
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    bad = sum(_is_bad(row) for row in rows)
    held = sum(bool(row.held) for row in rows)
    summary = ", ".join(
        filter(None, [f"{bad} not well" if bad else "all is well, as far as known", f"{held} held" if held else ""])
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        f'{again}\n<link rel="icon" href="data:,">\n<title>{_text(title)}: {_text(summary)}</title>\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<header><h1>{_text(title)}</h1><p>{_text(summary)}</p>"
        f'<p>read <time datetime="{now.isoformat(timespec="seconds")}">{now:%Y-%m-%d %H:%M:%S %Z}</time></p></header>\n'
        f"<main>{sections}</main>\n</body>\n</html>\n"
    )


def _section(name: str, rows: Sequence[Row]) -> str:
    head = "".join(
        f'<th scope="col">{label}</th>' for label in ("component", "version", "since", "by", "state", "behind")
    )
    body = "".join(_line(row) for row in rows)
    return f"<table><caption>{_text(name)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>\n"


def _line(row: Row) -> str:
    marks = [mark for mark, there in (("trouble", _is_bad(row)), ("held", row.held)) if there]
    kind = f' class="{marks[0]}"' if marks else ""
    since = (
        f'<time datetime="{_text(row.since)}">{_text(row.since.replace("T", " ").replace("Z", ""))}</time>'
        if row.since
        else "-"
    )
    cells = [
        f'<th scope="row">{_text(row.component)}</th>',
        f'<td class="version" data-label="version">{_text(row.version)}</td>',
        f'<td data-label="since">{since}</td>',
        f'<td data-label="by">{_text(row.by)}<span class="why">{_text(row.action)} {_text(row.commit[:10])}</span></td>',
        f'<td data-label="state">{_state(row)}</td>',
        f'<td data-label="behind">{_behind(row)}</td>',
    ]
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _state(row: Row) -> str:
    parts = []
    for value, good, bad in ((row.healthy, "healthy", "not healthy"), (row.verified, "verified", "not verified")):
        if value is not None:
            parts.append(f'<span class="{"good" if value else "bad"}">{good if value else bad}</span>')
    said = ", ".join(parts) or '<span class="soft">not known</span>'
    if row.held:
        said += f'<span class="why"><span class="warn">held</span> {_text(row.held)}</span>'
    return said + "".join(f'<span class="why">{_text(one)}</span>' for one in row.trouble)


def _behind(row: Row) -> str:
    if not row.behind_of:
        return '<span class="soft">-</span>'
    if row.behind is None:
        return f'<span class="warn">not of {_text(row.behind_of)}</span>'
    if row.behind == 0:
        return f'<span class="good">as {_text(row.behind_of)}</span>'
    return f'<span class="warn">{row.behind} behind {_text(row.behind_of)}</span>'


def _is_bad(row: Row) -> bool:
    return row.healthy is False or row.verified is False


def _text(value: str) -> str:
    return html.escape(value)
