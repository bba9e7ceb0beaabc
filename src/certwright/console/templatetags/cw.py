"""The console's template tags, loaded in every template.

    {% icon "certificate" %}                         one icon of the sprite
    {% state "pending" %}  {% state value word=... %}  a state: icon and word
    {% expiry not_after %}                           the state of a certificate by its days left
    {% cw_time when %}  {% cw_time when "whole" %}  {% cw_left until %}  {% cw_waited since %}
    {% copy value _("serial number") %}              text in the fixed font, with a button that copies it
    {% facts pairs %}                                a list of (label, value)
    {% finding "warn" _("Sentence") _("More") %}     stop, warn, info or pass
    {% field form.name %}                            label, input, hint and errors of a form field
    {% dialog "id" _("Question?") %}...{% enddialog %}  opened by data-open="id"
    {{ message|said }}                               what a CA or the security audit says, in the viewer's language
    {{ check.sentence|diagnosed }}                   the same of the doctor of a domain
    {{ finding.object|object_name }} {{ ace|entry }}  what a finding is about; an entry of permissions

and, for lists (console.listing), `row` being the row that is drawn:

    {% table listing %}
      {% attributes %}id="order-{{ row.id }}"{% endattributes %}
      {% pick row.id row.name %}                     the checkbox, where bulk acts exist
      {% cell "when" %}{% cw_time row.when %}{% endcell %}
      {% act %}<button ...>{% endact %}              the row's act and menu
      {% empty %}...{% endempty %}                   instead of the table when nothing is there
    {% endtable %}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from django import template
from django.forms import BoundField, CheckboxInput, CheckboxSelectMultiple, RadioSelect, Select
from django.template.base import FilterExpression, NodeList, Parser, Token
from django.template.context import Context
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from certwright.console import borrowed, clock, states
from certwright.console.listing import Column, Listing
from certwright.console.rooms import rooms

register = template.Library()

SPRITE = "console/vendor/tabler-icons-3.51.0/icons.svg"


@register.filter
def said(text: object) -> str:
    return borrowed.said(str(text))


register.filter("diagnosed", borrowed.diagnosed)
register.filter("object_name", borrowed.object_name)
register.filter("entry", borrowed.entry)


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    return format_html(
        '<svg class="icon{}" aria-hidden="true"><use href="{}#{}"/></svg>',
        f" {css}" if css else "",
        static(SPRITE),
        name,
    )


@register.simple_tag
def state(value: Any, word: Any = "", title: Any = "") -> SafeString:
    found = value if isinstance(value, states.State) else states.state_of(value)
    return _state(found, word, title)


@register.simple_tag
def expiry(not_after: datetime, managed: bool = True) -> SafeString:
    return _state(states.expiry_state(not_after, rooms().clock(), managed=managed))


def _state(found: states.State, word: Any = "", title: Any = "") -> SafeString:
    return format_html(
        '<span class="cw-state cw-state-{}"{}>{}{}</span>',
        found.colour,
        format_html(' title="{}"', title) if title else "",
        icon(found.icon),
        word or found.word,
    )


# -- times -----------------------------------------------------------------------------------------------------------


@register.simple_tag
def cw_time(when: datetime | None, form: str = "short") -> SafeString:
    """A time as lists show it, the whole of it as tool tip; `whole` shows all, `date` the day."""
    if when is None:
        return mark_safe("–")
    forms = {"whole": clock.whole, "date": clock.day}
    text = forms[form](when) if form in forms else clock.short(when, rooms().clock())
    relative = mark_safe(" data-relative") if form == "short" else ""
    return format_html(
        '<time datetime="{}" title="{}"{}>{}</time>',
        clock.iso(when),
        clock.whole(when),
        relative,
        text,
    )


@register.simple_tag
def cw_left(until: datetime | None) -> SafeString:
    """How long until then: `5 d 3 h`."""
    if until is None:
        return mark_safe("–")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        clock.iso(until),
        clock.whole(until),
        clock.span(until - rooms().clock()),
    )


@register.simple_tag
def cw_waited(since: datetime | None) -> SafeString:
    """How long it has waited: `1 d 7 h`."""
    if since is None:
        return mark_safe("–")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        clock.iso(since),
        clock.whole(since),
        clock.span(rooms().clock() - since),
    )


# -- small parts -----------------------------------------------------------------------------------------------------


@register.simple_tag
def copy(value: Any, what: Any, form: str = "plain") -> SafeString:
    """Text that people copy. `hex` shows it in fours, the middle of long ones left out, `short` most of it; what is
    copied is whole.
    """
    text = str(value)
    if not text:
        return mark_safe("–")
    words = _("Copy %(what)s") % {"what": what}
    return format_html(
        '<span class="cw-copyable"><code title="{}">{}</code><button type="button" class="cw-btn-copy" data-copy="{}"'
        ' data-copied="{}" aria-label="{}" title="{}">{}</button></span>',
        text,
        _in_fours(text, short=form == "short") if form in ("hex", "short") else text,
        text.replace(" ", "") if form in ("hex", "short") else text,
        _("Copied %(what)s") % {"what": what},
        words,
        words,
        icon("copy"),
    )


def _in_fours(text: str, *, short: bool = False) -> str:
    digits = text.replace(" ", "").replace(":", "")
    groups = [digits[at : at + 4] for at in range(0, len(digits), 4)]
    if short:
        return " ".join(groups) if len(groups) <= 3 else f"{digits[:4]} … {digits[-4:]}"
    return " ".join(groups) if len(groups) <= 8 else f"{' '.join(groups[:4])} … {' '.join(groups[-2:])}"


@register.simple_tag
def facts(pairs: Iterable[tuple[Any, Any]] | Mapping[Any, Any]) -> SafeString:
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    rows = format_html_join(
        "", "<dt>{}</dt><dd>{}</dd>", ((label, "–" if value in ("", None) else value) for label, value in items)
    )
    return format_html('<dl class="cw-facts">{}</dl>', rows)


_FINDINGS = {
    "stop": "circle-x",  # icon:circle-x
    "warn": "alert-triangle",  # icon:alert-triangle
    "info": "info-circle",  # icon:info-circle
    "pass": "circle-check",  # icon:circle-check
}


@register.simple_tag
def finding(kind: str, rule: Any, more: Any = "", code: str = "") -> SafeString:
    """A rule and how it came out; the second line says what was found, what is allowed, and where to change it."""
    second = format_html('<p class="cw-more">{}</p>', more) if more else ""
    third = format_html('<p class="cw-more"><code>{}</code></p>', code) if code else ""
    return format_html(
        '<div class="cw-finding cw-{}">{}<p><span class="cw-rule">{}</span></p>{}{}</div>',
        kind,
        icon(_FINDINGS[kind]),
        rule,
        second,
        third,
    )


@register.simple_tag
def field(bound: BoundField, hint: Any = "", css: str = "") -> SafeString:
    """One field of a form with what belongs to it, tied together for screen readers."""
    widget = bound.field.widget
    described = []
    text = hint or bound.help_text
    name = bound.id_for_label or bound.auto_id or bound.html_name
    if text:
        described.append(f"{name}-hint")
    if bound.errors:
        described.append(f"{name}-errors")
    attrs: dict[str, str | bool] = {"aria-describedby": " ".join(described)} if described else {}
    if bound.errors:
        attrs["aria-invalid"] = "true"
    hint_html = format_html('<span class="form-hint" id="{}-hint">{}</span>', name, text) if text else ""
    errors = (
        format_html(
            '<div class="invalid-feedback d-block" id="{}-errors">{}</div>', name, " ".join(map(str, bound.errors))
        )
        if bound.errors
        else ""
    )
    if isinstance(widget, CheckboxInput):
        return format_html(
            '<div class="{}"><label class="form-check">{}<span class="form-check-label">{}</span></label>{}{}</div>',
            css,
            bound.as_widget(attrs=attrs | {"class": "form-check-input"}),
            bound.label,
            hint_html,
            errors,
        )
    if isinstance(widget, RadioSelect | CheckboxSelectMultiple):
        choices = format_html_join(
            "",
            '<label class="form-check">{}<span class="form-check-label">{}</span></label>',
            ((_choice_tag(choice), choice.choice_label) for choice in bound),
        )
        return format_html(
            '<fieldset class="{}"><legend class="form-label">{}</legend>{}{}{}</fieldset>',
            css,
            bound.label,
            choices,
            hint_html,
            errors,
        )
    kind = "form-select" if isinstance(widget, Select) else "form-control"
    kind += " is-invalid" if bound.errors else ""
    given = str(widget.attrs.get("class", ""))
    return format_html(
        '<div class="{}"><label class="form-label" for="{}">{}</label>{}{}{}</div>',
        css,
        name,
        bound.label,
        bound.as_widget(attrs=attrs | {"class": f"{kind} {given}".strip()}),
        hint_html,
        errors,
    )


def _choice_tag(choice: Any) -> SafeString:
    choice.data["attrs"]["class"] = "form-check-input"
    return SafeString(choice.tag())


# -- dialogs ---------------------------------------------------------------------------------------------------------


@register.tag
def dialog(parser: Parser, token: Token) -> template.Node:
    """`{% dialog "id" title %}body{% enddialog %}`: a modal dialog that stands in the page, closed."""
    _tag, name, title = token.split_contents()
    body = parser.parse(("enddialog",))
    parser.delete_first_token()
    return _DialogNode(parser.compile_filter(name), parser.compile_filter(title), body)


class _DialogNode(template.Node):
    def __init__(self, name: FilterExpression, title: FilterExpression, body: NodeList) -> None:
        self.name, self.title, self.nodelist = name, title, body

    def render(self, context: Context) -> SafeString:
        name = self.name.resolve(context)
        return format_html(
            '<dialog class="cw-dlg" id="{}" aria-labelledby="{}-title">'
            '<div class="cw-dhead"><h2 id="{}-title">{}</h2>'
            '<button type="button" class="cw-iconbtn" data-close aria-label="{}">{}</button></div>{}</dialog>',
            name,
            name,
            name,
            self.title.resolve(context),
            _("Close"),
            icon("x"),
            self.nodelist.render(context),
        )


# -- lists -----------------------------------------------------------------------------------------------------------


class _CellNode(template.Node):
    def __init__(self, key: str, body: NodeList) -> None:
        self.key, self.nodelist = key, body

    def render(self, context: Context) -> SafeString:
        return self.nodelist.render(context)


class _PartNode(_CellNode):
    """`{% attributes %}`, `{% act %}`, `{% empty %}`."""


class _PickNode(template.Node):
    def __init__(self, value: FilterExpression, label: FilterExpression) -> None:
        self.value, self.label = value, label

    def render(self, context: Context) -> SafeString:
        words = _("Select %(what)s") % {"what": self.label.resolve(context)}
        return format_html(
            '<td class="cw-pick"><input class="form-check-input" type="checkbox" name="pick" value="{}"'
            ' aria-label="{}"></td>',
            self.value.resolve(context),
            words,
        )


@register.tag
def cell(parser: Parser, token: Token) -> template.Node:
    _tag, key = token.split_contents()
    body = parser.parse(("endcell",))
    parser.delete_first_token()
    return _CellNode(key.strip("\"'"), body)


def _part(name: str) -> None:
    def compile_part(parser: Parser, _token: Token) -> template.Node:
        body = parser.parse((f"end{name}",))
        parser.delete_first_token()
        return _PartNode(name, body)

    register.tag(name, compile_part)


for _name in ("attributes", "act", "empty"):
    _part(_name)


@register.tag
def pick(parser: Parser, token: Token) -> template.Node:
    _tag, value, label = token.split_contents()
    return _PickNode(parser.compile_filter(value), parser.compile_filter(label))


@register.tag
def table(parser: Parser, token: Token) -> template.Node:
    _tag, listing = token.split_contents()
    body = parser.parse(("endtable",))
    parser.delete_first_token()
    return _TableNode(parser.compile_filter(listing), body)


class _TableNode(template.Node):
    """A list: head, rows with the cells of the shown columns in the account's order, foot."""

    def __init__(self, listing: FilterExpression, body: NodeList) -> None:
        self.listing, self.nodelist = listing, body
        self.cells = {node.key: node for node in body if type(node) is _CellNode}
        self.parts = {node.key: node for node in body if isinstance(node, _PartNode)}
        self.pick = next((node for node in body if isinstance(node, _PickNode)), None)

    def render(self, context: Context) -> SafeString:
        listing: Listing = self.listing.resolve(context)
        columns = [column for column in listing.columns if column.key in self.cells]
        if not listing.rows and not listing.only_rows and "empty" in self.parts:
            return SafeString(self.parts["empty"].render(context))
        rows = [self._row(context, row, columns) for row in listing.rows]
        if listing.only_rows:
            return mark_safe("".join(rows))  # noqa: S308
        head = self._head(listing, columns)
        with context.push(listing=listing):
            below = render_to_string("console/parts/foot.html", cast(dict[str, Any], context.flatten()))
        return format_html(
            '<div class="cw-table-wrap"><table class="table cw-stack"><thead><tr>{}</tr></thead>'
            "<tbody>{}</tbody></table></div>{}",
            head,
            mark_safe("".join(rows)),  # noqa: S308 - rendered and escaped above
            below,
        )

    def _head(self, listing: Listing, columns: list[Column]) -> SafeString:
        cells = (
            [
                format_html(
                    '<th class="cw-pick" scope="col"><input class="form-check-input" type="checkbox" data-pick-all'
                    ' aria-label="{}"></th>',
                    _("Select all on this page"),
                )
            ]
            if self.pick
            else []
        )
        for column in columns:
            css = f' class="{column.css}"' if column.css else ""
            label = conditional_escape(column.label)
            if not column.sortable:
                cells.append(format_html('<th scope="col"{}>{}</th>', mark_safe(css), label))  # noqa: S308
                continue
            is_sorted = listing.sort == column.key
            order = ("descending" if listing.descending else "ascending") if is_sorted else ""
            cells.append(
                format_html(
                    '<th scope="col"{}{}><a href="{}" hx-get="{}" hx-target="#rows" hx-replace-url="true">'
                    "{}{}</a></th>",
                    mark_safe(css),  # noqa: S308 - written in the code
                    format_html(' aria-sort="{}"', order) if order else "",
                    listing.sort_url(column),
                    listing.sort_url(column),
                    label,
                    icon("arrow-down" if listing.descending else "arrow-up") if is_sorted else "",
                )
            )
        if "act" in self.parts:
            cells.append(
                format_html(
                    '<th scope="col" class="cw-end"><span class="visually-hidden">{}</span></th>', _("Actions")
                )
            )
        return mark_safe("".join(cells))  # noqa: S308

    def _row(self, context: Context, row: Any, columns: list[Column]) -> str:
        with context.push(row=row):
            attributes = self.parts["attributes"].render(context) if "attributes" in self.parts else ""
            cells: list[str] = [self.pick.render(context)] if self.pick else []
            for column in columns:
                css = f' class="{column.css}"' if column.css else ""
                cells.append(
                    f'<td{css} data-label="{conditional_escape(column.label)}">'
                    f"{self.cells[column.key].render(context).strip()}</td>"
                )
            if "act" in self.parts:
                acts = self.parts["act"].render(context)
                cells.append(f'<td class="cw-tight cw-end cw-acts-s"><span class="cw-act">{acts}</span></td>')
            return f"<tr {attributes}>{''.join(cells)}</tr>"


@register.simple_tag(takes_context=True)
def language(context: Context) -> str:
    """The language of the page, for `lang`."""
    return get_language() or "en"
