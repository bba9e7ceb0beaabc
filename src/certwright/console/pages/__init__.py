"""The pages, one module per group. What a module may define is said in `certwright.console`."""

from certwright.console.pages.finding import modules

__all__ = ["modules"]
