"""How every command of storewatchctl is declared: common options, examples, near misses."""

import difflib
from collections.abc import Callable
from typing import Any, get_args

import click

from storewatch import clock
from storewatch.ctl import words
from storewatch.ctl.session import Session
from storewatch.wire.inventory import ObjectKindName

LONGEST_S = 315_360_000
"""The longest duration; the daemon takes no longer one."""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _: click.Parameter, value: Any) -> None:
        session = context.find_object(Session)
        if session is not None and value is not None and value is not False:
            setattr(session, name, value)

    return callback


def _common() -> list[click.Parameter]:
    return [
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            expose_value=False,
            callback=_set("as_json"),
            help="Answer in JSON.",
        ),
        click.Option(
            ["--socket"],
            metavar="PATH",
            expose_value=False,
            callback=_set("socket"),
            help="The daemon's control socket.",
        ),
        click.Option(
            ["--timeout", "timeout_s"],
            metavar="DURATION",
            type=Duration(),
            expose_value=False,
            callback=_set("timeout_s"),
            help="How long to wait for an answer (65s).",
        ),
        click.Option(
            ["--debug", "is_debugging"],
            is_flag=True,
            expose_value=False,
            callback=_set("is_debugging"),
            help="Show where an error came from.",
        ),
    ]


class _Examples(click.Command):
    """A command whose help ends in examples."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **more: Any) -> None:
        super().__init__(*args, **more)
        self.context_settings = {**CONTEXT, **self.context_settings}
        self.params.extend(_common())
        self._examples = examples

    def get_short_help_str(self, limit: int = 45) -> str:
        return super().get_short_help_str(300)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        if self._examples:
            with formatter.section("Examples"):
                for example in self._examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class Command(_Examples):
    """One command."""


class Group(_Examples, click.Group):
    """A noun with its commands."""

    command_class = Command

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{"no_args_is_help": False, **more})

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in self.commands:
            near = difflib.get_close_matches(name, self.commands, n=1)
            meant = f": did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"there is no command {name!r}{meant}", context)
        return super().resolve_command(context, args)


class Duration(click.ParamType):  # type: ignore[type-arg]  # click 8.1's is not generic
    """Seconds, or 90s, 15m, 1h30m, 2d."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = words.parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds <= 0:
            self.fail("it must be more than nothing", param, ctx)
        if seconds > LONGEST_S:
            self.fail("it must be ten years or less", param, ctx)
        return seconds


class Moment(click.ParamType):  # type: ignore[type-arg]  # click 8.1's is not generic
    """A time as people write it; the value is what goes over the wire."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return words.wire_time(words.parse_moment(value, clock.now()))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Pair(click.ParamType):  # type: ignore[type-arg]  # click 8.1's is not generic
    """NAME=VALUE."""

    name = "pair"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        name, equals, text = value.partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not of the form NAME=VALUE", param, ctx)
        return name, text


class Choice(click.Choice):  # type: ignore[type-arg]  # click 8.1's is not generic
    """One of a few words; what is none of them is told as the daemon tells it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self.choices:
            return str(value)
        name = max(param.opts, key=len).lstrip("-") if param is not None else "value"
        raise click.UsageError(f"{name}: {self._expected()}, found {value!r}", ctx)

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self._expected()

    def _expected(self) -> str:
        return f"expected one of {', '.join(self.choices)}"


DURATION = Duration()
MOMENT = Moment()
PAIR = Pair()
SEVERITY = Choice(["info", "warning", "critical"])
STATE = Choice(["pending", "firing", "resolved"])
EVENT_TYPE = Choice(["alert", "task", "system", "storage", "scst", "tape", "vtl", "metrics"])
OBJECT_KIND = Choice([*get_args(ObjectKindName)])
TASK_STATE = Choice(["pending", "running", "completed", "failed"])


def some(values: tuple[Any, ...]) -> list[Any] | None:
    """Return what a repeated option brought, or None where it was not given."""
    return list(values) or None
