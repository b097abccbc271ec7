"""Coordinates on the covariance matrices: steps ``Lambda (I + E)`` from a Lambda whose columns are orthogonal.

Only ``Lambda Lambda'`` matters, so each term's Lambda may be rotated from the right. With orthogonal columns, longest
first, a lower triangular E moves every column towards itself and the shorter ones: as a column vanishes what is left are
exactly the directions on the face of covariance matrices of lower rank, whichever rank. (A triangular Lambda has no such
directions when a column before the last vanishes, and searches in it stop at the wrong face.)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import kernel, quick_kernel

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float, ThetaMap

# a step shortens no column to less than this share
SHRINK = 0.1
# slopes and curvatures of less than this share of a level each are the rounding of a criterion that is constant
CONSTANT = 1e-11
# longest step per coordinate, in units of the direction's standard deviation and its noise
CAP = 2.0


@kernel(quick=True)
def lower_basis(root: Float, sizes: Float, dependent: float, low: Float, basis: Float) -> None:
    """``root = low basis``, row by row (Gram-Schmidt, twice); a row that is ``dependent`` times its size or less beside the
    rows above it adds nothing to ``basis``. Overwrites ``root``."""
    w = root.shape[0]
    for i in range(w):
        for _ in range(2):
            for k in range(i):
                s = 0.0
                for x in range(w):
                    s += basis[k, x] * root[i, x]
                low[i, k] += s
                for x in range(w):
                    root[i, x] -= s * basis[k, x]
        square = 0.0
        for x in range(w):
            square += root[i, x] * root[i, x]
        norm = math.sqrt(square)
        if norm > dependent * sizes[i]:
            low[i, i] = norm
            for x in range(w):
                basis[i, x] = root[i, x] / norm


@kernel(quick=True)
def orthogonalize(theta_map: ThetaMap, lam: Float, follow_lam: Float, follow_grad: Float) -> None:
    """Rotate every unstructured term's columns (one-sided Jacobi) and sort them; the followers are rotated along."""
    for k in range(theta_map.width.shape[0]):
        w = theta_map.width[k]
        if theta_map.diagonal[k] != 0 or w == 1:
            continue
        o = theta_map.start[k]
        stride = theta_map.stride[k]
        for _ in range(30):
            rotated = False
            for p in range(w):
                for q in range(p + 1, w):
                    pp = 0.0
                    qq = 0.0
                    pq = 0.0
                    for i in range(w):
                        x = lam[o + i * stride + p]
                        y = lam[o + i * stride + q]
                        pp += x * x
                        qq += y * y
                        pq += x * y
                    if abs(pq) > 1e-14 * math.sqrt(pp) * math.sqrt(qq):
                        zeta = (qq - pp) / (2.0 * pq)
                        t = 1.0 / (abs(zeta) + math.sqrt(1.0 + zeta * zeta))
                        if zeta < 0.0:
                            t = -t
                        c = 1.0 / math.sqrt(1.0 + t * t)
                        s = c * t
                    elif qq > pp:
                        c = 0.0
                        s = 1.0
                    else:
                        continue
                    rotated = True
                    for i in range(w):
                        for a in (lam, follow_lam, follow_grad):
                            x = a[o + i * stride + p]
                            y = a[o + i * stride + q]
                            a[o + i * stride + p] = c * x - s * y
                            a[o + i * stride + q] = s * x + c * y
            if not rotated:
                break


@quick_kernel
def displace(theta_map: ThetaMap, lam: Float, direction: Float, step: float, out: Float) -> None:
    """``out = Lambda (I + step E)`` term by term; E's entries are ``direction``, its diagonal bounded from below."""
    for i in range(lam.shape[0]):
        out[i] = lam[i]
    for i in range(direction.shape[0]):
        k = theta_map.term[i]
        a = theta_map.row[i]
        b = theta_map.column[i]
        o = theta_map.start[k]
        stride = theta_map.stride[k]
        e = step * direction[i]
        if a == b:
            e = max(abs(1.0 + e), SHRINK) - 1.0
        if theta_map.diagonal[k] != 0:
            out[o + a * stride + a] += e * lam[o + a * stride + a]
        else:
            for j in range(theta_map.width[k]):
                out[o + j * stride + b] += e * lam[o + j * stride + a]


@quick_kernel
def pull_back(theta_map: ThetaMap, lam: Float, grad: Float, gradient: Float, hessian: Float, reach: Float) -> None:
    """Gradient in E at ``E = 0`` (the free entries of ``Lambda' (d/dLambda)``) and the longest step per coordinate.

    To the Hessian is added what ``Lambda Lambda'`` being quadratic contributes, on entries of one column of E. A coordinate
    along which the criterion is constant is left alone: its slope becomes zero.
    """
    for i in range(gradient.shape[0]):
        k = theta_map.term[i]
        a = theta_map.row[i]
        o = theta_map.start[k]
        stride = theta_map.stride[k]
        column = theta_map.column[i]
        alone = theta_map.diagonal[k] != 0
        low = a if alone else 0
        high = a + 1 if alone else theta_map.width[k]
        slope = 0.0
        length = 0.0
        for x in range(low, high):
            slope += lam[o + x * stride + a] * grad[o + x * stride + column]
            length += lam[o + x * stride + a] ** 2
        gradient[i] = slope
        reach[i] = CAP * math.sqrt(1.0 + theta_map.noise[k] ** 2 / length) if length > 0.0 else CAP
        for j in range(i + 1):
            if theta_map.term[j] != k or theta_map.column[j] != column:
                continue
            b = theta_map.row[j]
            s = 0.0
            for x in range(low, high):
                s += 0.5 * (lam[o + x * stride + a] * grad[o + x * stride + b]
                            + lam[o + x * stride + b] * grad[o + x * stride + a])
            hessian[i, j] += s
            if i != j:
                hessian[j, i] += s
    for i in range(gradient.shape[0]):
        least = CONSTANT * theta_map.levels[theta_map.term[i]]
        if abs(gradient[i]) < least and abs(hessian[i, i]) < least:
            gradient[i] = 0.0
            for j in range(gradient.shape[0]):
                hessian[i, j] = 0.0
                hessian[j, i] = 0.0
            hessian[i, i] = 1.0


@quick_kernel
def secant_pair(
    theta_map: ThetaMap, lam: Float, grad: Float, earlier_lam: Float, earlier_grad: Float, step: Float, change: Float
) -> None:
    """The way from the earlier Lambda and its change of gradient, in the coordinates at ``lam``."""
    for i in range(step.shape[0]):
        k = theta_map.term[i]
        a = theta_map.row[i]
        b = theta_map.column[i]
        o = theta_map.start[k]
        stride = theta_map.stride[k]
        if theta_map.diagonal[k] != 0:
            x = o + a * stride + a
            step[i] = (lam[x] - earlier_lam[x]) / lam[x] if lam[x] != 0.0 else 0.0
            change[i] = lam[x] * (grad[x] - earlier_grad[x])
            continue
        aa = 0.0
        bb = 0.0
        ab = 0.0
        ba = 0.0
        g = 0.0
        for j in range(theta_map.width[k]):
            x = o + j * stride + a
            y = o + j * stride + b
            aa += lam[x] * lam[x]
            bb += lam[y] * lam[y]
            ab += lam[x] * (lam[y] - earlier_lam[y])
            ba += lam[y] * (lam[x] - earlier_lam[x])
            g += lam[x] * (grad[y] - earlier_grad[y])
        change[i] = g
        step[i] = ab / aa if aa > 0.0 else 0.0
        if a != b and bb > 0.0:
            # E's upper triangle is a rotation of what its mirror image does below
            step[i] += ba / bb
