"""Expressions made up of given leaves by every operator of the language."""

from hypothesis import strategies as st

ARITHMETIC = ("+", "-", "*", "/", "%", "^")
COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")
SET_OPERATORS = ("and", "or", "unless")


def expressions(
    leaves: st.SearchStrategy[str],
    *,
    labels: tuple[str, str],
    arithmetic: tuple[str, ...] = ARITHMETIC,
    max_leaves: int = 4,
) -> st.SearchStrategy[str]:
    """Return expressions over leaves that are vectors with these two labels, or scalars."""
    one, two = labels
    operators = st.sampled_from(
        [*arithmetic, *COMPARISONS, *(f"{sign} bool" for sign in COMPARISONS), *SET_OPERATORS]
    )
    matchings = st.sampled_from(
        [
            *("", "", "", f"on ({one})", f"on ({two})", f"on ({one}, {two})", "on ()"),
            *(f"on (__name__, {one}, {two})", f"ignoring ({one})", f"ignoring ({two})"),
            *("ignoring (missing)", "ignoring (__name__)"),
        ]
    )
    groupings = st.sampled_from(
        [
            *("", f"by ({one})", f"by ({two})", "by ()", "by (__name__)", f"by ({one}, missing)"),
            *(f"without ({one})", f"without ({two})", "without ()"),
        ]
    )
    wrappers = st.sampled_from(["-", "+", "absent", "2 -", "1 <", "0 >= bool"])

    def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        binary = st.tuples(inner, operators, matchings, inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} {parts[2]} ({parts[3]})"
        )
        aggregate = st.tuples(
            st.sampled_from(["sum", "count", "min", "max", "avg"]), groupings, inner
        ).map(lambda parts: f"{parts[0]} {parts[1]} ({parts[2]})")
        wrapped = st.tuples(wrappers, inner).map(lambda parts: f"{parts[0]} ({parts[1]})")
        return binary | aggregate | wrapped

    return st.recursive(leaves, combined, max_leaves=max_leaves)
