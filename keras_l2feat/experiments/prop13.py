"""Prop. 13: the completely positive matrix of a triangle-free graph needs as many columns as there
are edges."""

import networkx as nx

from keras_l2feat.experiments.claims import Claims, write_csv
from keras_l2feat.experiments.record import figure
from keras_l2feat.plots.style import canvas, save
from keras_l2feat.progress import bar
from keras_l2feat.theory import completely_positive
from keras_l2feat.theory.factorization import factorize

GRAPHS = {
    "path 5": nx.path_graph(5),
    "cycle 5": nx.cycle_graph(5),
    "bipartite 2+2": nx.complete_bipartite_graph(2, 2),
    "bipartite 3+3": nx.complete_bipartite_graph(3, 3),
    "cube": nx.hypercube_graph(3),
}
RESTARTS = 20


def search(matrix, columns, seed):
    """The residuals of nonnegative factorizations of so many columns, best of `RESTARTS` each."""
    return [factorize(matrix, k, restarts=RESTARTS, seed=seed).residual for k in columns]


@figure("prop13", summary="Completely positive matrices of triangle-free graphs.")
def command(out, *, seed, quiet):
    """A = EᵀE for several graphs: the bound from below, the factor, and what a search finds with
    fewer columns."""
    claims, rows = Claims(), []
    with bar(GRAPHS.items(), description="graphs", quiet=quiet) as graphs:
        for name, graph in graphs:
            matrix, edges = completely_positive.graph_matrix(graph), graph.number_of_edges()
            columns = range(max(edges - 3, 1), edges + 2)
            residuals = search(matrix, columns, seed)
            fit = dict(zip(columns, residuals))
            own = {"graph": name, "edges": edges}
            rows += [{**own, "columns": k, "residual": r} for k, r in fit.items()]
            below = completely_positive.fooling_set(matrix > 0)
            claims.check(f"{name}: CP-rank from below, a fooling set", edges, below)
            claims.check(f"{name}: residual with {edges} columns", 0, fit[edges], tolerance=1e-9)
            claims.check(f"{name}: residual with {edges - 1}", 1e-4, fit[edges - 1], ">")
    write_csv(rows, out / "prop13.csv")
    with canvas(1, 2, width=4.6) as (drawing, (left, right)):
        graph, look = GRAPHS["bipartite 3+3"], {"node_color": "0.85", "edge_color": "C0"}
        places = nx.bipartite_layout(graph, range(3))
        nx.draw_networkx(graph, pos=places, ax=left, font_size=9, **look)
        text = "9 edges, no triangle: each column of a\nnonnegative factor covers one edge"
        left.set_title(text, fontsize=10)
        left.axis("off")
        for index, name in enumerate(GRAPHS):
            own = [row for row in rows if row["graph"] == name]
            offsets = [row["columns"] - row["edges"] for row in own]
            residuals = [max(row["residual"], 1e-17) for row in own]
            right.semilogy(offsets, residuals, "os^Dv"[index] + "-", label=name, ms=5)
        right.axvline(0, color="0.4", ls=":")
        right.set(
            xlabel="columns minus edges", ylabel="‖A − BBᵀ‖ / ‖A‖, best of 20", xticks=range(-3, 2)
        )
        right.set_title("a factor exists from the number of edges on", fontsize=10)
        right.legend(fontsize=8)
        save(drawing, out / "prop13.png")
    return claims.report(
        out,
        "For a graph without triangles A = EᵀE has CP-rank exactly its number of "
        "edges [Jacot et al. 2022, Prop. 13]: no two edges fit into one clique, which bounds it "
        f"from below, and Eᵀ is a factor. A search for nonnegative factors ({RESTARTS} random "
        "starts each) agrees: it fits to rounding with as many columns as edges and leaves a "
        "residual above 1e-4 with one fewer. That failed search is no proof; the bound from below "
        "is.",
    )
