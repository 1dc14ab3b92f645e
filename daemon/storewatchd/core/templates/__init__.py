"""Label and annotation templates: the part of Go's text/template that Prometheus' rules use.

Language: https://pkg.go.dev/text/template
Functions: https://prometheus.io/docs/prometheus/latest/configuration/template_reference/
What is not known here is refused by name and place when the rule file is read.
"""

from storewatchd.core.templates.functions import QueryRow
from storewatchd.core.templates.render import Context, Template

__all__ = ["Context", "QueryRow", "Template"]
