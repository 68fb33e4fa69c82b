# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of all releases as one HTML page that needs nothing else: for a second screen, light, dark and narrow.

A row for each component, a column for each environment in the order of a release; what needs a human stands above it.
The page is whole without its script, which only keeps ages true while it is open and tells when nobody writes it any more.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from datetime import UTC, datetime

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.status import Row

_STYLE = """
:root{color-scheme:light dark;--page:#f3f5f8;--card:#fff;--head:#fafbfc;--text:#15191e;--soft:#5a6472;--line:#e0e4ea;
--good:#136a32;--good-back:#e7f6ec;--bad:#c3271b;--bad-back:#fdecea;--warn:#8a5a00;--warn-back:#fff4d9;--none:#667080;--accent:#2457c5}
@media (prefers-color-scheme:dark){:root{--page:#0d1015;--card:#161a21;--head:#1b2028;--text:#e7ebf0;--soft:#98a3b1;--line:#272e38;
--good:#5fd083;--good-back:#12291b;--bad:#ff8a80;--bad-back:#34171a;--warn:#ecc05a;--warn-back:#2e2510;--none:#8b96a4;--accent:#8db4ff}}
*{box-sizing:border-box}
body{margin:0;padding:1.6rem clamp(.8rem,3vw,2.6rem);background:var(--page);color:var(--text);
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;font-variant-numeric:tabular-nums}
header{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;margin-bottom:1.1rem}
h1{font-size:1.5rem;line-height:1.2;letter-spacing:-.015em;margin:0 .3rem 0 0}
ul{list-style:none;margin:0;padding:0}
.sums{display:flex;flex-wrap:wrap;gap:.4rem}
.pill{display:inline-flex;align-items:center;gap:.4em;padding:.16rem .65rem;border-radius:99px;font-size:.86rem;font-weight:600;
background:var(--card);border:1px solid var(--line);color:var(--soft);white-space:nowrap}
.pill.good{color:var(--good);background:var(--good-back);border-color:transparent}
.pill.bad{color:var(--bad);background:var(--bad-back);border-color:transparent}
.pill.warn{color:var(--warn);background:var(--warn-back);border-color:transparent}
.read{margin:0 0 0 auto;color:var(--soft);font-size:.88rem}
.read.old{color:var(--bad);font-weight:600}
.needs{background:var(--card);border:1px solid var(--line);border-radius:.8rem;margin-bottom:1.1rem;overflow:hidden}
.needs li{display:flex;gap:.2rem .8rem;flex-wrap:wrap;align-items:baseline;padding:.6rem 1rem;border-left:.3rem solid var(--warn)}
.needs li+li{border-top:1px solid var(--line)}
.needs li.bad{border-left-color:var(--bad)}
.needs a{color:inherit;font-weight:650;text-decoration-color:var(--soft);text-underline-offset:.2em}
.needs span{color:var(--soft);flex:1 1 22rem;overflow-wrap:anywhere}
table{width:100%;table-layout:fixed;border-collapse:separate;border-spacing:0;background:var(--card);border:1px solid var(--line);
border-radius:.8rem}
th,td{text-align:left;padding:.75rem 1rem;vertical-align:top;border-top:1px solid var(--line)}
td{border-left:1px solid var(--line)}
thead th{position:sticky;top:0;z-index:1;border-top:0;background:var(--head);font-size:.8rem;font-weight:650;letter-spacing:.04em;
text-transform:uppercase;color:var(--soft);padding-block:.6rem}
thead th+th{border-left:1px solid var(--line)}
thead th:first-child{border-top-left-radius:.8rem}thead th:last-child{border-top-right-radius:.8rem}
thead th+th+th::before{content:"\\2192";margin-right:.6em;font-weight:400}
tbody th{font-weight:650;font-size:1.02rem;overflow-wrap:anywhere}
thead th:first-child{width:11rem}
tbody tr:last-child td:last-child{border-bottom-right-radius:.8rem}
td:target{outline:2px solid var(--accent);outline-offset:-2px}
td.none{color:var(--none)}
.top{display:flex;flex-wrap:wrap;gap:.2rem .7rem;align-items:baseline;justify-content:space-between}
.version{font:650 1.05rem/1.3 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.state{font-size:.86rem;font-weight:600;white-space:nowrap}
.state::before{content:"";display:inline-block;width:.62em;height:.62em;border-radius:50%;background:currentColor;margin-right:.45em}
.state.unknown::before{background:none;border:.13em solid currentColor}
.state.bad::before{border-radius:.1em;transform:rotate(45deg)}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}.unknown{color:var(--none)}
td.is-bad{background:var(--bad-back)}td.is-held{background:var(--warn-back)}
.meta{display:flex;flex-wrap:wrap;gap:0 .9rem;color:var(--soft);font-size:.86rem;margin-top:.2rem}
.meta code{font:inherit;font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.94em}
.marks{display:flex;flex-wrap:wrap;gap:.3rem;margin-top:.45rem}
.mark{font-size:.8rem;font-weight:600;padding:.05rem .5rem;border-radius:99px;border:1px solid currentColor}
details{margin-top:.45rem;font-size:.86rem;color:var(--soft)}
summary{cursor:pointer}
details li{padding:.12rem 0}
footer{margin-top:1rem;color:var(--soft);font-size:.84rem}
@media (max-width:52rem){
body{padding-top:1rem}
.read{margin-left:0;width:100%}
table,tbody,tr,td,tbody th{display:block;width:auto}
table{background:none;border:0}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tr{background:var(--card);border:1px solid var(--line);border-radius:.8rem;margin-bottom:.9rem;overflow:hidden}
tbody th{border-top:0;background:var(--head);padding-block:.55rem}
td{border-left:0}
td.none{display:none}
td::before{content:attr(data-label);display:block;font-size:.74rem;font-weight:650;letter-spacing:.04em;text-transform:uppercase;
color:var(--soft);margin-bottom:.1rem}
}
"""
#: Keeps ages true, and says when the file has not been written for long: a page that is never read again looks the same.
_SCRIPT = """
function age(s){return s<60?Math.floor(s)+" s":s<3600?Math.floor(s/60)+" min":s<172800?Math.floor(s/3600)+" h":Math.floor(s/86400)+" d"}
function tick(){for(const t of document.querySelectorAll("time")){
const s=Math.max(0,(Date.now()-Date.parse(t.dateTime))/1000);t.textContent=age(s)+" ago";
const most=Number(t.dataset.most||0);if(most)t.parentNode.classList.toggle("old",s>most)}}
tick();setInterval(tick,1000)
"""
_DIGEST = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_DIGEST}'; img-src data:"
#: A page that is older than this many times its refresh, in any case more than five minutes, is told to be old.
_REFRESHES, _LEAST = 5, 300


def render(rows: Sequence[Row], now: datetime, title: str, refresh: int = 60) -> str:
    """Return the page. `refresh` is after how many seconds a browser reads the file again (0: never)."""
    environments = list(dict.fromkeys(row.environment for row in rows))
    components = list(dict.fromkeys(row.component for row in rows))
    cells = {(row.component, row.environment): row for row in rows}
    again = f'<meta http-equiv="refresh" content="{refresh}">\n' if refresh else ""
    bad, held = sum(_is_bad(row) for row in rows), sum(bool(row.held) for row in rows)
    told = ", ".join(
        filter(None, [f"{bad} not well" if bad else "all is well, as far as known", f"{held} held" if held else ""])
    )
    most = max(_LEAST, _REFRESHES * refresh) if refresh else 0
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in ("component", *environments))
    body = "".join(
        f'<tr><th scope="row">{_text(component)}</th>'
        + "".join(_cell(cells.get((component, name)), component, name, now) for name in environments)
        + "</tr>\n"
        for component in components
    )
    table = (
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>\n"
        if rows
        else "<p>No release was found.</p>\n"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'{again}<link rel="icon" href="data:,">\n<title>{_text(title)}: {_text(told)}</title>\n<style>{_STYLE}</style>\n</head>\n'
        f'<body>\n<header><h1>{_text(title)}</h1>{_sums(rows, bad, held)}<p class="read">read {_age(now, now, most)}</p></header>\n'
        f"<main>\n{_needs(rows)}{table}</main>\n"
        "<footer>Versions, holds and who brought them: Git. Health: the clusters, at the time of reading.</footer>\n"
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _sums(rows: Sequence[Row], bad: int, held: int) -> str:
    """Return the counts beside the title; what is nothing is left out."""
    well = sum(row.healthy is True and not _is_bad(row) for row in rows)
    behind = sum(bool(row.behind_of) and row.behind != 0 for row in rows)
    unknown = len(rows) - well - bad
    sums = (
        ("bad", bad, "not well"),
        ("warn", held, "held"),
        ("", behind, "behind"),
        ("good", well, "well"),
        ("", unknown, "not known"),
    )
    items = "".join(f'<li class="pill {kind}">{count} {what}</li>' for kind, count, what in sums if count)
    return f'<ul class="sums">{items}</ul>'


def _needs(rows: Sequence[Row]) -> str:
    """Return what needs a human: what is not well first, then what is held."""
    items = []
    for kind, chosen in (
        ("bad", [r for r in rows if _is_bad(r)]),
        ("warn", [r for r in rows if (r.held or r.ran_out) and not _is_bad(r)]),
    ):
        for row in chosen:
            said = list(row.trouble) or ([_words(row)[1]] if kind == "bad" else [])
            said += [one for one in (row.held, row.ran_out) if one]
            items.append(
                f'<li class="{kind}"><a href="#{_anchor(row)}">{_text(row.component)} in {_text(row.environment)}</a>'
                f"<span>{_text('; '.join(said))}</span></li>"
            )
    return f'<ul class="needs">{"".join(items)}</ul>\n' if items else ""


def _cell(row: Row | None, component: str, environment: str, now: datetime) -> str:
    label = f'data-label="{_text(environment)}"'
    if row is None:
        return f'<td class="none" {label} aria-label="{_text(component)} is not in {_text(environment)}">&ndash;</td>'
    kind, words = _words(row)
    mark = "is-bad" if _is_bad(row) else "is-held" if row.held else ""
    meta = [_since(row.since, now)] if row.since else []
    name = row.by.partition(" (")[0].partition(" <")[0]
    meta += [f'<span title="{_text(row.by)}">by {_text(name)}</span>'] if name else []
    meta += [f"<span>{_text(row.action)} <code>{_text(row.commit[:8])}</code></span>"] if row.commit else []
    badges = ['<span class="mark warn">held</span>'] if row.held else []
    badges += ['<span class="mark warn">hold ran out</span>'] if row.ran_out else []
    if row.behind_of and row.behind is None:
        badges.append(f'<span class="mark warn">not of {_text(row.behind_of)}</span>')
    elif row.behind_of and row.behind:
        badges.append(f'<span class="mark warn">{row.behind} behind {_text(row.behind_of)}</span>')
    marks = f'<div class="marks">{"".join(badges)}</div>' if badges else ""
    return (
        f'<td id="{_anchor(row)}" class="{mark}" {label}>'
        f'<div class="top"><span class="version">{_text(row.version or "-")}</span>'
        f'<span class="state {kind}">{words}</span></div>'
        f'<div class="meta">{"".join(meta)}</div>{marks}{_earlier(row, now)}</td>'
    )


def _earlier(row: Row, now: datetime) -> str:
    """Return the versions before, folded up, where they were asked for."""
    lines = "".join(
        f"<li>{_text(one['version'])}, {_since(one['since'], now)} by"
        f" {_text(one['by'].partition(' (')[0].partition(' <')[0])}</li>"
        for one in row.versions[1:]
    )
    return f"<details><summary>earlier</summary><ul>{lines}</ul></details>" if lines else ""


def _words(row: Row) -> tuple[str, str]:
    """Return the class and the words of a state."""
    if row.healthy is False:
        return "bad", "not healthy"
    if row.verified is False:
        return "bad", "not verified"
    if row.healthy is None:
        return ("good", "verified") if row.verified else ("unknown", "not known")
    return "good", "healthy, verified" if row.verified else "healthy"


def _since(moment: str, now: datetime) -> str:
    return _age(datetime.fromisoformat(moment), now)


def _age(moment: datetime, now: datetime, most: int = 0) -> str:
    """Return how long ago a moment was, with the moment itself for the pointer; `most` seconds make it old."""
    seconds = max(0.0, (now - moment).total_seconds())
    steps = ((60.0, 1, "s"), (3600.0, 60, "min"), (172800.0, 3600, "h"), (float("inf"), 86400, "d"))
    said = next(f"{int(seconds // unit)} {name}" for limit, unit, name in steps if seconds < limit)
    utc = moment.astimezone(UTC)
    old = f' data-most="{most}"' if most else ""
    return f'<time datetime="{utc:%Y-%m-%dT%H:%M:%SZ}" title="{utc:%Y-%m-%d %H:%M:%S} UTC"{old}>{said} ago</time>'


def _anchor(row: Row) -> str:
    return _text(f"{row.environment}/{row.component}".replace(" ", "-"))


def _is_bad(row: Row) -> bool:
    return row.healthy is False or row.verified is False


def _text(value: str) -> str:
    return html.escape(value)
