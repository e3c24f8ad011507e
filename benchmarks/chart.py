"""Draws what an event costs, by the session's length: reads its JSON, writes the SVG file that is named."""

from __future__ import annotations

import json
import statistics
import sys

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt


def main() -> None:
    costs = json.load(sys.stdin)
    plt.rcParams |= {"svg.hashsalt": "the same picture for the same figures", "svg.fonttype": "none"}
    figure, panels = plt.subplots(
        1, len(costs), figsize=(4 * len(costs), 4), sharey=True, layout="constrained"
    )
    names = list(dict.fromkeys(peer for by_peer in costs.values() for peer in by_peer))
    colours = dict(zip(names, plt.get_cmap("tab10").colors, strict=False))
    lines = {}
    for panel, (place, by_peer) in zip(panels, costs.items(), strict=True):
        for peer, by_length in by_peer.items():
            lengths = [int(length) for length in by_length]
            medians = [statistics.median(values) for values in by_length.values()]
            [lines[peer]] = panel.loglog(lengths, medians, marker="o", color=colours[peer])
        panel.set(title=place, xlabel="events in the session")
        panel.grid(visible=True, alpha=0.3)
    panels[0].set_ylabel("microseconds of CPU an event")
    figure.legend([lines[name] for name in names], names, loc="outside lower center", ncols=len(names))
    figure.savefig(sys.argv[1], metadata={"Date": None})


if __name__ == "__main__":
    main()
