"""Labels beside points, placed where they cover neither other labels nor drawn marks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.path import Path as Curve
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

_RADII_PT = (6.0, 11.0, 18.0, 28.0, 40.0, 55.0)
_ANGLES = np.deg2rad(np.arange(0, 360, 22.5))
_LEADER_FROM_PT = 11.0  # nearer than that a line from text to point is clutter
_FONT_SIZE_PT = 8.0
_PASSES = 3


@dataclass(frozen=True)
class Label:
    """A text and its points in data coordinates; it may stand beside any one of them."""

    text: str
    anchors: Sequence[tuple[float, float]]
    bold: bool = False
    leader: bool = True


def place_labels(ax: Axes, labels: Sequence[Label]) -> None:
    """Write each label at the free place nearest to its point.

    The limits and the position of `ax` must be final: places are found in pixels.
    """
    ink = _drawn_pixels(ax)
    choices = [_places(ax, label, ink) for label in labels]
    chosen = [places[0] for places in choices]
    for _ in range(_PASSES):  # each gives way to the others where it stands now
        for index, places in enumerate(choices):
            others = chosen[:index] + chosen[index + 1 :]
            chosen[index] = _best(places, others)
    for label, place in zip(labels, chosen, strict=True):
        _write(ax, label, place)


@dataclass(frozen=True)
class _Place:
    anchor: tuple[float, float]
    box: Bbox  # of the text, in pixels
    point: NDArray[np.float64]  # (1, 2) pixel that it names
    leader: NDArray[np.float64]  # (k, 2) pixels of the line to it, if it is drawn
    cost: float  # of what is drawn under it, and of being far


def _places(ax: Axes, label: Label, ink: NDArray[np.float64]) -> list[_Place]:
    """Return all places of one label, the cheapest first."""
    size = np.array(_text_size(ax, label))
    pixels_per_pt = _canvas(ax).figure.dpi / 72
    directions = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
    places = []
    for anchor in label.anchors:
        point = ax.transData.transform(anchor)
        for radius_pt in _RADII_PT if label.leader else _RADII_PT[:2]:
            for direction in directions:
                has_leader = label.leader and radius_pt > _LEADER_FROM_PT
                if has_leader and np.abs(direction).min() < 0.1:
                    continue  # an upright or level line would pass for a bar of uncertainty
                end = point + radius_pt * pixels_per_pt * direction
                # Of a text to the right the left edge is at the radius' end, and so on.
                low = end - size * (1 - direction) / 2
                box = Bbox([low, low + size])
                leader = np.linspace(point, end, 8 if has_leader else 0)
                cost = _cost(ax, box.padded(2), ink) + radius_pt / 10
                places.append(_Place(anchor, box, point[None], leader, cost))
    return sorted(places, key=lambda place: place.cost)


def _best(places: Sequence[_Place], others: Sequence[_Place]) -> _Place:
    """Return the cheapest of `places`, which are sorted by their cost without the other labels."""
    best, lowest = places[0], float("inf")
    for place in places:
        if place.cost >= lowest:
            break
        cost = place.cost + _conflict(place, others)
        if cost < lowest:
            best, lowest = place, cost
    return best


def _cost(ax: Axes, box: Bbox, ink: NDArray[np.float64]) -> float:
    inside = ax.bbox.contains(*box.min) and ax.bbox.contains(*box.max)
    return float(_count(ink, box) + 1000 * (not inside))


def _conflict(place: _Place, others: Sequence[_Place]) -> float:
    box = place.box.padded(2)
    return sum(
        100.0 * box.overlaps(other.box)
        + 20.0 * _count(place.leader, other.box)
        + 20.0 * _count(other.leader, box)
        + 5.0 * _count(other.point, place.box.padded(12))  # whose label would it seem to be?
        for other in others
    )


def _count(pixels: NDArray[np.float64], box: Bbox) -> int:
    return int(((pixels >= box.min) & (pixels <= box.max)).all(axis=1).sum())


def _write(ax: Axes, label: Label, place: _Place) -> None:
    leader = {"arrowstyle": "-", "lw": 0.6, "color": "0.4", "shrinkA": 1, "shrinkB": 4}
    centre = np.array([place.box.x0 + place.box.x1, place.box.y0 + place.box.y1]) / 2
    # In points, so that the text stays in place when the figure is saved at another resolution.
    offset_pt = (centre - ax.transData.transform(place.anchor)) * 72 / _canvas(ax).figure.dpi
    ax.annotate(
        label.text,
        place.anchor,
        (offset_pt[0], offset_pt[1]),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=_FONT_SIZE_PT,
        fontweight="bold" if label.bold else "normal",
        arrowprops=leader if len(place.leader) else None,
        zorder=10,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )


def _text_size(ax: Axes, label: Label) -> tuple[float, float]:
    weight = "bold" if label.bold else "normal"
    text = ax.text(0, 0, label.text, fontsize=_FONT_SIZE_PT, fontweight=weight)
    extent = text.get_window_extent()
    text.remove()
    return extent.width, extent.height


def _drawn_pixels(ax: Axes) -> NDArray[np.float64]:
    """Return closely spaced pixels (n, 2) that lines and markers in `ax` pass through."""
    drawn = [np.empty((0, 2))]
    for line in ax.lines:
        curve = line.get_path()
        if line.get_linestyle() != "None" and len(np.asarray(curve.vertices)) > 1:
            curve = curve.interpolated(40)
        pixels = np.asarray(line.get_transform().transform_path(curve).vertices)
        drawn.append(pixels)
        if line.get_marker() != "None":  # a marker has a body, a fine line none
            radius = line.get_markersize() / 2 * _canvas(ax).figure.dpi / 72
            outline = radius * np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
            drawn.append((pixels[:, None] + outline).reshape(-1, 2))
    for collection in ax.collections:
        if isinstance(collection, LineCollection):
            drawn += [
                ax.transData.transform(Curve(segment).interpolated(8).vertices)
                for segment in collection.get_segments()
            ]
        else:
            drawn.append(ax.transData.transform(np.asarray(collection.get_offsets())))
    return np.vstack(drawn)


def _canvas(ax: Axes) -> FigureCanvasAgg:
    figure = ax.get_figure(root=True)
    assert figure is not None
    assert isinstance(figure.canvas, FigureCanvasAgg)
    return figure.canvas
