"""Straight texts as bands: direction, length and thickness from the image moments of their pixels.

The outline of a region follows the noise of the network. Its moments are robust: a spike on the
outline has few pixels, and changes the mass, the centre and the variances of hundreds of pixels
very little. A region is described by the rectangle that has the same moments.

Moments are those of weighted pixels (`Regions.weights`): mass is the sum of the weights, the centre
is their mean, and the variances are those of x and y around it.
"""

from typing import NamedTuple

import numpy as np

from dbnet.postprocess.regions import Regions

# All but the first were chosen on SROIE training receipts and on drawn ones.
_PIXEL = 1 / 12  # variance of the square of a pixel, side 1, along any direction
_NOISE = 0.5  # share of the variance across a region that counts as noise
_LONG = 4.1  # length over thickness: longer regions determine the directions of the page
_AGREED = 0.9  # length of the mean direction of long regions, 0..1: below, they do not agree
_CURVE_ASPECT = 4.0  # length over thickness: a shorter kernel never counts as curved
_CURVE_LENGTH = 16.0  # pixels: a shorter kernel never counts as curved
_SLANTED = 0.3  # pixels by which the outermost pixel of a slanted end lies outside the kernel


class Bands(NamedTuple):
    """n straight bands, float64, in pixels between pixel centres (a row of 8 pixels is 7 long)."""

    centres: np.ndarray  # (n, 2), centres of mass of the regions
    angles: np.ndarray  # (n,), radians from the x axis to the band's direction
    firsts: np.ndarray  # (n,), where the outermost pixel lies, along the direction from the centre
    lasts: np.ndarray  # (n,), the same at the other end
    overshoots: np.ndarray  # (n,), how far the outermost pixels lie outside the kernel
    thicknesses: np.ndarray  # (n,), above 0
    pixel_thicknesses: np.ndarray  # (n,), with all pixels above bin_thresh taken as kernel
    bends: np.ndarray  # (n,), sagitta of the arc with the same variance across; 0 for short bands

    @property
    def lengths(self) -> np.ndarray:
        """Lengths of the kernels, (n,)."""
        return np.maximum(self.lasts - self.firsts - 2 * self.overshoots, 0)


def fit_bands(regions: Regions) -> Bands:
    """The straight bands that have the moments of n regions.

    1. Mass, centre and variances of each region. _PIXEL is the spread within a pixel.
    2. The direction is the one with the largest variance. Regions that are almost as long as wide
       have no clear direction: they take one of the page's two directions.
    3. A rectangle of length l has the variance l^2 / 12 along its length (uniform distribution).
       This gives the length. Mass over length gives the thickness. Target kernels include their
       outline pixels (cv2.fillPoly), which makes a side along x or y one pixel thicker, and a
       slanted side less: `outline` is subtracted.
    4. Each end lies at the outermost pixel, because the last letter of a text has little weight in
       the variance. This pixel overshoots the kernel, by the mean depth of the soft edge (missing
       mass over perimeter), or by _SLANTED at slanted ends.
    5. The variance across is that of thickness, soft edges and bend. An arc of sagitta s, nearly a
       parabola, has the variance 4 s^2 / 45. Only long kernels count as curved.
    """
    # 1.
    mass = regions.sums(regions.masses)
    x, y = regions.sums(regions.moments) / mass, regions.sums(regions.masses * regions.rows) / mass
    xx = regions.sums(regions.squares) / mass - x * x + _PIXEL
    yy = regions.sums(regions.masses * regions.rows**2) / mass - y * y + _PIXEL
    xy = regions.sums(regions.moments * regions.rows) / mass - x * y

    # 2.
    angles = _directions(xx, yy, xy, mass)
    cos, sin = np.cos(angles), np.sin(angles)
    along = cos * cos * xx + 2 * cos * sin * xy + sin * sin * yy
    across = xx + yy - along

    # 3.
    lengths = np.sqrt(12 * along)
    thicknesses = mass / lengths
    outline = np.maximum(np.abs(cos), np.abs(sin))

    # 4.
    runs = np.diff(regions.offsets)
    run_cos, run_y = np.repeat(cos, runs), regions.rows * np.repeat(sin, runs)
    first, last = regions.firsts * run_cos + run_y, regions.lasts * run_cos + run_y  # (R,)
    centre = x * cos + y * sin
    firsts = np.minimum.reduceat(np.minimum(first, last), regions.offsets[:-1]) - centre
    lasts = np.maximum.reduceat(np.maximum(first, last), regions.offsets[:-1]) - centre
    pixels = regions.sums(regions.lasts - regions.firsts + 1)
    soft = (pixels - mass) / (2 * (lengths + thicknesses))
    slanted = _SLANTED * np.minimum(10 * np.abs(np.sin(2 * angles)), 1)

    # 5.
    blur = (pixels - mass) / lengths  # width of the soft edges of both sides
    excess = across - (thicknesses**2 + blur**2) / 12
    may_bend = lasts - firsts >= np.maximum(_CURVE_LENGTH, np.sqrt(_CURVE_ASPECT * mass))
    return Bands(
        centres=np.stack([x, y], axis=1),
        angles=angles,
        firsts=firsts,
        lasts=lasts,
        overshoots=np.maximum(soft, slanted),
        # At least half is left: a faint kernel may have less mass than its drawn outline alone.
        thicknesses=np.maximum(thicknesses - outline, thicknesses / 2),
        pixel_thicknesses=pixels / lengths - outline,
        bends=np.sqrt(45 / 4 * np.maximum(excess, 0)) * may_bend,
    )


def _directions(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Radians from the x axis to the longer side of n regions.

    1. The principal axis of the covariance matrix [[xx, xy], [xy, yy]], at
       atan2(2 xy, xx - yy) / 2. The variances along and across it are mean +- difference.
    2. The directions of the page, from its long regions. Texts run along the page or at right
       angles to it. exp(4 i angle) is the same for both: the weighted mean of these numbers has
       four times the angle of the page. Where the regions do not agree, the page is upright.
    3. Noise in the variances turns the axis by about noise / (large - small). A region that differs
       from the nearest direction of the page by less than that takes this direction. On a page
       without agreed directions, only a region that noise could turn by 45 degrees does so.
    """
    # 1.
    # A square gets exactly 0, not 1e-15 or -0.0.
    flatness, skew = np.round((xx - yy) / 2, 9) + 0.0, np.round(xy, 9) + 0.0
    mean, difference = (xx + yy) / 2, np.hypot(flatness, skew)
    small, large = mean - difference, mean + difference  # variances across and along
    angles = np.arctan2(skew, flatness) / 2

    # 2.
    long = large > _LONG**2 * small
    weights = (mass * difference)[long]
    total = (weights * np.exp(4j * angles[long])).sum()
    agree = abs(total) > _AGREED * weights.sum()
    page = np.angle(total) / 4 if agree else 0.0

    # 3.
    nearest = page + np.round((angles - page) / (np.pi / 2)) * (np.pi / 2)
    turn = np.abs(angles - nearest) if agree else np.pi / 4
    return np.where(turn * (large - small) < _NOISE * small, nearest, angles)
