"""The triangle LP, bounded rigorously: the solver only proposes multipliers, and any multipliers give a sound bound.

For rows lo ≤ G v ≤ hi over a box and any λ, Σ c·v = (c - Gᵀλ)·v + λ·G v ≤ max over the box of (c - Gᵀλ)·v +
Σ max(λ·lo, λ·hi): weak duality. It is evaluated with outward rounding, so that neither the solver's tolerances nor a
fault of the solver can certify wrongly; the better its multipliers, the tighter the bound.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from nla.certificates.exact.encoding import MOST_VARIABLES, Cuts, Encoding, Program
from nla.certificates.question import Budget, Question
from nla.certificates.rounding import Floats, own, times
from nla.errors import MissingExtraError

_NARROW = 1e-5
"""Rows that are narrower than this, relatively, are equations to the solver; the bound takes them as they are."""


@dataclass(frozen=True)
class Solved:
    """What is known of the maximum of one linear function over one program."""

    bound: float
    """Never below it; -∞ where the program was proved to have no point."""
    point: Floats | None
    """[variables] where the solver found it, to its tolerance."""


def libraries() -> tuple[Any, Any]:
    """(scipy.optimize.linprog, scipy.sparse). Raises MissingExtraError."""
    try:
        from scipy import sparse
        from scipy.optimize import linprog
    except ImportError as error:
        raise MissingExtraError("bounds by linear programs (--method lp, milp)", "exact") from error
    return linprog, sparse


def upper(asked: Question) -> Floats:
    """[k] upper bounds of the elements asked about, one linear program each; at most what their box gives.

    Networks of more than MOST_VARIABLES elements before the tensor keep their box.
    """
    libraries()
    found = asked.held
    encoding = Encoding(asked.network, asked.known, asked.tensor)
    if encoding.size > MOST_VARIABLES or not len(found) or asked.budget.spent():
        return found
    system = System(encoding.program(Cuts()))
    for k, place in enumerate(asked.places):
        if asked.budget.spent():
            break
        asked.progress(k, len(found))
        c, constant = encoding.aim(one(asked.shape, int(place)))
        found[k] = min(found[k], solve(encoding, system, c, constant, asked.budget).bound)
    return found


def one(shape: tuple[int, ...], place: int) -> Floats:
    """[1, *shape] coefficients that read one element."""
    A = np.zeros((1, int(np.prod(shape, dtype=np.int64))))
    A[0, place] = 1.0
    return A.reshape(1, *shape)


def solve(
    encoding: Encoding, system: System, c: Floats, constant: float, budget: Budget | None = None
) -> Solved:
    """A sound upper bound of Σ c·v + constant over the program; infinite where the solver came to no end."""
    limit = budget or Budget()
    result = system.run(-c, limit.remaining())
    if result.status == 0:
        bound = constant + dual_bound(encoding, system, c, system.multipliers(result))
        return Solved(bound + 2.0**-50 * (abs(bound) + abs(constant)), np.asarray(result.x))
    if result.status == 2 and system.proved_empty(encoding, limit.remaining()):  # infeasible, it says
        return Solved(-np.inf, None)
    return Solved(np.inf, None)


def dual_bound(encoding: Encoding, system: System, c: Floats, multipliers: Floats) -> float:
    """The right-hand side of weak duality for these multipliers [rows], rounded outward; any are sound."""
    program, matrix, rows = system.program, system.matrix, system.program.rows
    held = np.where(np.isfinite(multipliers), multipliers, 0.0)
    held = np.where((held > 0) & np.isposinf(rows.hi) | (held < 0) & np.isneginf(rows.lo), 0.0, held)
    fixed = np.where(held > 0, times(held, rows.hi), times(held, rows.lo))
    reduced = c - matrix.T @ held
    # own() of the longest sum there can be, of the terms in absolute value
    terms = own(rows.count + 2)
    doubt = terms * (np.abs(c) + abs(matrix).T @ np.abs(held))
    total, size = fixed.sum(), np.abs(fixed).sum()
    for name in encoding.start:
        some = encoding.variables(name)
        best, largest = _over(encoding, name, reduced[some], doubt[some], program.lo[some], program.hi[some])
        total, size = total + best, size + largest
    bound = total + own(rows.count + len(c)) * size
    return float(bound) if not np.isnan(bound) else float("inf")


def _over(
    encoding: Encoding, name: str, r: Floats, doubt: Floats, lo: Floats, hi: Floats
) -> tuple[float, float]:
    """The largest Σ (r ± doubt)·v over the box, or over the tensor's own set where that is smaller; Σ |terms|."""
    ends = [times(r + sign * doubt, end) for sign in (-1, 1) for end in (lo, hi)]
    each = np.maximum.reduce(ends)
    best, size = float(each.sum()), float(np.abs(each).sum())
    domain = encoding.known.domains.get(name)
    if domain is not None and domain is not domain.box:
        extent = np.maximum(np.abs(lo), np.abs(hi))
        shaped = r.reshape(1, *encoding.network.shapes[name])
        best = min(best, float(domain.sup(shaped)[0] + (doubt * extent).sum()))
        size = max(size, float((np.abs(r) * extent).sum()))
    return best, size


class System:
    """A program as the solver wants it: inequalities one-sided, narrow rows as equations."""

    def __init__(self, program: Program) -> None:
        self._linprog, sparse = libraries()
        self.program, self._sparse = program, sparse
        rows = program.rows
        shape = (rows.count, len(program.lo))
        self.matrix = sparse.csr_matrix((rows.value, (rows.row, rows.column)), shape=shape)
        with np.errstate(invalid="ignore"):
            middle, width = (rows.lo + rows.hi) / 2, rows.hi - rows.lo
        narrow = np.isfinite(middle) & (width <= _NARROW * (1 + np.abs(middle)))
        self._even = np.flatnonzero(narrow)
        self._high = np.flatnonzero(~narrow & np.isfinite(rows.hi))
        self._low = np.flatnonzero(~narrow & np.isfinite(rows.lo))
        self._equations = self.matrix[self._even], middle[self._even]
        self._limits = (
            sparse.vstack([self.matrix[self._high], -self.matrix[self._low]], format="csr"),
            np.concatenate([rows.hi[self._high], -rows.lo[self._low]]),
        )

    def run(self, costs: Floats, seconds: float | None) -> Any:
        """linprog's result for min costs·v."""
        return self._call(costs, self._limits, self._equations, (self.program.lo, self.program.hi), seconds)

    def _call(
        self, costs: Floats, limits: Any, equations: Any, box: tuple[Floats, Floats], seconds: float | None
    ) -> Any:
        options = {} if seconds is None else {"time_limit": max(seconds, 0.01)}
        given: dict[str, Any] = {}
        if limits[0].shape[0]:
            given.update(A_ub=limits[0], b_ub=limits[1])
        if equations[0].shape[0]:
            given.update(A_eq=equations[0], b_eq=equations[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tolerances, which nothing here relies on
            return self._linprog(
                costs, **given, bounds=np.stack(box, axis=1), method="highs", options=options
            )

    def multipliers(self, result: Any) -> Floats:
        """[rows] λ: how the maximum grows with each row's end."""
        found = np.zeros(self.program.rows.count)
        if len(self._even):
            found[self._even] = -result.eqlin.marginals[: len(self._even)]
        if len(self._high) + len(self._low):
            marginals = -result.ineqlin.marginals
            found[self._high] += marginals[: len(self._high)]
            found[self._low] -= marginals[len(self._high) :]
        return found

    def proved_empty(self, encoding: Encoding, seconds: float | None) -> bool:
        """Whether multipliers of the least violation prove that no point meets all rows (Farkas)."""
        sparse, size = self._sparse, len(self.program.lo)
        m, k = len(self._even), self._limits[0].shape[0]
        eye = sparse.identity
        equations = sparse.hstack(
            [self._equations[0], eye(m), -eye(m), sparse.csr_matrix((m, k))], format="csr"
        )
        limits = sparse.hstack([self._limits[0], sparse.csr_matrix((k, 2 * m)), -eye(k)], format="csr")
        spare = 2 * m + k
        box = (
            np.concatenate([self.program.lo, np.zeros(spare)]),
            np.concatenate([self.program.hi, np.full(spare, np.inf)]),
        )
        costs = np.concatenate([np.zeros(size), np.ones(spare)])
        result = self._call(costs, (limits, self._limits[1]), (equations, self._equations[1]), box, seconds)
        if result.status != 0:
            return False
        zero = np.zeros(size)
        return dual_bound(encoding, self, zero, self.multipliers(result)) < 0
