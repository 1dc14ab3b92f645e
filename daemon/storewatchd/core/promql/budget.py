"""How much one evaluation may do, counted in cells: there is no clock in the core.

A *cell* is one label or value of one row that an operation handles: about a tenth of a microsecond.
Every operation pays for the rows that it gives, and with that for what it costs to take them; what
costs more than its rows is paid by itself, and before it is done.
"""

from storewatchd.errors import ExpressionError

MAX_CELLS = 20_000_000
"""What any evaluation may do, that of a rule or of a template: about two seconds."""

OPERATION_CELLS = 200
"""What an operation costs however few rows it has."""

MATCHER_CELLS = 4
"""What it costs to hold a label against a matcher."""

HOLE_CELLS = 3
"""What it costs to hold a row against a hole."""

SAMPLES_A_CELL = 10
"""How many samples of a window cost as much as a cell."""


class Budget:
    """The cells that one evaluation has left."""

    def __init__(self, cells: int) -> None:
        self._given = cells
        self._left = cells

    def spend(self, cells: int) -> None:
        """Pay for an operation.

        Raises:
            ExpressionError: there is not enough left.
        """
        self._left -= cells
        if self._left < 0:
            raise ExpressionError(
                f"it is too dear: it handles over {self._given} labels and values; "
                "name metrics, and aggregate less at once"
            )
