"""What the Displays share: axes to draw into, and what documents them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from ntkit._doc import documented
from ntkit.inspection._matplotlib import axes_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@documented
class Display:
    """A picture that was drawn, and can be drawn again: its fields are what it shows."""

    ax_: Axes
    figure_: Any

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        {ax}

        {drawn}

        Raises
        ------
        {MissingDependencyError}
        """
        self._draw(self._axes(ax))
        return self

    def _axes(self, ax: Axes | None) -> Axes:
        """Keep and return the axes to draw into."""
        self.ax_ = axes_for(ax, f"{type(self).__name__}.plot")
        self.figure_ = self.ax_.figure
        return self.ax_

    def _draw(self, ax: Axes) -> None:
        raise NotImplementedError(type(self).__name__)
